"""Runs an unmodified script as Python would."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import runpy
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from nndiag.errors import TargetError

_HERE = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Script:
    """A program and its command line.

    Attributes:
        name: of the file, or of the module.
        arguments: what follows it.
        is_module: whether it is to be run as ``python -m name``.
    """

    name: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False

    def require(self) -> None:
        """Raises if there is no such script.

        Raises:
            TargetError: there is no such file or module.
        """
        if not self.is_module:
            if not Path(self.name).is_file():
                raise TargetError(f"there is no file {self.name}")
            return
        with _path_of(self):
            try:
                found = importlib.util.find_spec(self.name)
            except (ImportError, ValueError):
                found = None
        if found is None:
            raise TargetError(f"there is no module {self.name!r} to run with -m")


class Ending(NamedTuple):
    """How a script ended.

    Attributes:
        code: its exit code.
        error: what it raised, `None` if it ended by itself or by `sys.exit`.
        message: what it gave to `sys.exit` in place of a code.
    """

    code: int
    error: BaseException | None = None
    message: str = ""

    def show(self) -> None:
        """Prints what Python would print of it, on standard error."""
        if self.message:
            print(self.message, file=sys.stderr)
        if self.error is not None:
            error = self.error.with_traceback(_own(self.error.__traceback__))
            traceback.print_exception(error)


def play(script: Script) -> Ending:
    """Runs a script to its end, and waits for its threads.

    `sys.argv`, the first place on `sys.path` and the name `__main__` are those that
    Python would give it; what it does to its own process (its directory, its streams)
    stays done, but for the first two.
    """
    script.require()
    with _path_of(script):
        before = sys.argv
        sys.argv = [script.name, *script.arguments]
        try:
            if script.is_module:
                runpy.run_module(script.name, run_name="__main__", alter_sys=True)
            else:
                runpy.run_path(script.name, run_name="__main__")
            _join_threads()
        except SystemExit as end:
            return _exit(end.code)
        except KeyboardInterrupt as error:
            return Ending(130, error)
        except Exception as error:
            return Ending(1, error)
        finally:
            sys.argv = before
    return Ending(0)


@contextlib.contextmanager
def last_words(speak: Callable[[int], None]) -> Iterator[None]:
    """Within it, `speak` is called before `os._exit`, which nothing else can stop."""
    before, process = os._exit, os.getpid()

    def leave(code: int) -> Any:
        if os.getpid() == process:
            speak(code)
        before(code)

    os._exit = leave  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = before


def line_of(error: BaseException, script: Script) -> str:
    """The last line of the script on the way to an error, ``""`` if it has none."""
    frames = traceback.extract_tb(error.__traceback__)
    name = Path(script.name).name
    own = [frame for frame in frames if Path(frame.filename).name == name]
    return f", at line {own[-1].lineno} ({own[-1].line})" if own else ""


@contextlib.contextmanager
def _path_of(script: Script) -> Iterator[None]:
    before = sys.path[:]
    first = Path.cwd() if script.is_module else Path(script.name).parent.resolve()
    sys.path.insert(0, str(first))
    try:
        yield
    finally:
        sys.path[:] = before


def _exit(code: Any) -> Ending:
    if code is None:
        return Ending(0)
    return Ending(code) if isinstance(code, int) else Ending(1, message=str(code))


def _join_threads() -> None:
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _own(frames: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame of the script on."""
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if not file.startswith((_HERE, "<frozen runpy>")) and file != runpy.__file__:
            return frames
        frames = frames.tb_next
    return None
