"""Everything nndiag raises on purpose.

::

    NndiagError          exit code 2; the message says what, which value, what next
    ├── TargetError      a target cannot be imported, or lacks a required part
    ├── SettingError     a knob or a value of it is unknown
    ├── ProgramError     the watched program cannot be watched as it is
    └── RunError         a run directory is missing, unreadable, in use or too new
"""


class NndiagError(Exception):
    """Base of all errors that nndiag raises on purpose.

    The command line prints the message on one line, without a traceback, and ends
    with `exit_code`.
    """

    exit_code = 2


class TargetError(NndiagError):
    """A target cannot be imported, or lacks a required part."""


class SettingError(NndiagError):
    """A setting, or the value given for one, is unknown."""


class ProgramError(NndiagError):
    """The program under watch cannot be watched as it is (a loss that is no scalar)."""


class RunError(NndiagError):
    """A run directory is missing, unreadable, in the way, or of a newer schema."""
