"""What other tools cost that watch training, in PyTorch.

    python benchmarks/peers.py [--rounds 11] [--json FILE]

The network, 784-512-512-10 on batches of 128, trains in a plain PyTorch loop, and in
loops with each tool, as its documentation shows; interleaved in one process, as in
`watching.py`. Ratios are to the bare PyTorch loop. For all rows, in an environment of
their own:

    pip install torch tensorboard wandb cockpit-for-pytorch "setuptools<81"
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Threads that spin while they wait make a busy machine ten times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
import torch

SIZES, ROWS, BATCHES, STEPS = (784, 512, 512, 10), 128, 8, 20
SLOW = 2  # steps of a tool that takes long at each
Step = Callable[[int, Any, Any], Any]


class Bare:
    """The network and its own loop; subclasses watch it.

    Args:
        every: how often they do.
        folder: for what they store.
    """

    def __init__(self, every: int, folder: str) -> None:
        self.steps = STEPS
        torch.manual_seed(0)
        layers: list[Any] = []
        for a, b in itertools.pairwise(SIZES):
            layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
        self.every, self.folder, self.number = every, folder, 0
        self.model = torch.nn.Sequential(*layers[:-1])
        self.criterion = torch.nn.CrossEntropyLoss()
        self._start()
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.05)

    def _start(self) -> None:
        """Before the first step."""

    def _descend(self, images: Any, labels: Any) -> Any:
        """One step; its loss."""
        self.optimizer.zero_grad()
        loss = self.criterion(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def _after(self, loss: Any) -> None:
        """After a step."""

    def close(self) -> None:
        """After the last step."""

    def run(self, batches: list[Any]) -> None:
        """A block of steps; the losses are read at its end."""
        history = []
        for number in range(self.steps):
            loss = self._descend(*batches[number % BATCHES])
            self._after(loss)
            self.number += 1
            history.append(loss.detach())
        torch.stack(history).tolist()


class Hooks(Bare):
    """Norms of activations, their gradients, weights and gradients, by hooks."""

    def _start(self) -> None:
        self.norms: dict[str, Any] = {}
        for name, module in self.model.named_modules():
            module.register_forward_hook(self._keep(f"{name} value", 2))
            if name:
                module.register_full_backward_hook(self._keep(f"{name} cotangent", 2))

    def _keep(self, name: str, position: int) -> Callable[..., None]:
        def hook(*given: Any) -> None:
            if self.number % self.every == 0:
                array = given[position]
                array = array[0] if isinstance(array, tuple) else array
                self.norms[name] = array.detach().norm()

        return hook

    def _after(self, loss: Any) -> None:
        if self.number % self.every == 0:
            for name, leaf in self.model.named_parameters():
                self.norms[name] = leaf.detach().norm()
                self.norms[f"{name} gradient"] = leaf.grad.norm()
            torch.stack(list(self.norms.values())).tolist()


class TensorBoard(Bare):
    """Histograms of all weights and gradients."""

    def _start(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(tempfile.mkdtemp(dir=self.folder))

    def _after(self, loss: Any) -> None:
        if self.number % self.every == 0:
            for name, leaf in self.model.named_parameters():
                self.writer.add_histogram(name, leaf, self.number)
                self.writer.add_histogram(f"{name}.grad", leaf.grad, self.number)

    def close(self) -> None:
        """Closes the files."""
        self.writer.close()


class Wandb(Bare):
    """`wandb.watch(log="all")` with `log_freq`, and `run.log` of the loss; offline."""

    def _start(self) -> None:
        import wandb

        settings = wandb.Settings(silent=True, console="off")
        # The hooks log to the one run of the process.
        self.tracker = wandb.run or wandb.init(
            mode="offline", dir=self.folder, settings=settings
        )
        wandb.watch(self.model, log="all", log_freq=self.every)

    def _after(self, loss: Any) -> None:
        if self.number % self.every == 0:
            self.tracker.log({"loss": loss.item()})

    def close(self) -> None:
        """Ends the run."""
        self.tracker.finish()


class Cockpit(Bare):
    """Cockpit's configuration `economy`, with an interval of every so many steps."""

    def _start(self) -> None:
        self.steps = max(SLOW, self.every)
        import backpack
        from cockpit import Cockpit as Tracker
        from cockpit.utils.configuration import configuration
        from cockpit.utils.schedules import linear

        self.model = backpack.extend(self.model)
        self.criterion = backpack.extend(self.criterion)
        self.single = backpack.extend(torch.nn.CrossEntropyLoss(reduction="none"))
        quantities = configuration("economy", track_schedule=linear(self.every))
        self.tracker = Tracker(self.model.parameters(), quantities=quantities)

    def _descend(self, images: Any, labels: Any) -> Any:
        self.optimizer.zero_grad()
        outputs = self.model(images)
        loss = self.criterion(outputs, labels)
        info = {
            "batch_size": ROWS,
            "individual_losses": self.single(outputs, labels),
            "loss": loss,
            "optimizer": self.optimizer,
        }
        with self.tracker(self.number, info=info):
            loss.backward(create_graph=self.tracker.create_graph(self.number))
        self.optimizer.step()
        return loss


TOOLS: dict[str, tuple[type[Bare], int]] = {
    "bare": (Bare, 1),
    "bare again": (Bare, 1),
    "PyTorch hooks, every 10": (Hooks, 10),
    "PyTorch hooks, every 1": (Hooks, 1),
    "TensorBoard histograms, every 10": (TensorBoard, 10),
    "TensorBoard histograms, every 1": (TensorBoard, 1),
    "wandb.watch, every 10": (Wandb, 10),
    "wandb.watch, every 1": (Wandb, 1),
    "Cockpit economy, every 10": (Cockpit, 10),
    "Cockpit economy, every 1": (Cockpit, 1),
}


def spent(loop: Bare, batches: list[Any]) -> tuple[float, float]:
    """Seconds a step, and seconds of processor time over all threads."""
    wall, processor = time.perf_counter(), time.process_time()
    loop.run(batches)
    both = time.perf_counter() - wall, time.process_time() - processor
    return both[0] / loop.steps, both[1] / loop.steps


@contextlib.contextmanager
def loops(
    folder: str, batches: list[Any]
) -> Iterator[tuple[dict[str, Bare], dict[str, str]]]:
    """Each loop by name, and why a tool has none."""
    made: dict[str, Bare] = {}
    failed: dict[str, str] = {}
    for name, (kind, every) in TOOLS.items():
        try:
            made[name] = kind(every, folder)
            made[name].run(batches)
        except Exception as error:
            made.pop(name, None)
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    yield made, failed
    for one in made.values():
        one.close()


def measure(rounds: int) -> dict[str, Any]:
    """Quartiles of the ratios to the bare loop."""
    rng = torch.Generator().manual_seed(0)
    batches = [
        (
            torch.rand(ROWS, SIZES[0], generator=rng),
            torch.randint(SIZES[-1], (ROWS,), generator=rng),
        )
        for _ in range(BATCHES)
    ]
    with (
        tempfile.TemporaryDirectory() as folder,
        loops(folder, batches) as (made, failed),
    ):
        spans: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
        for _ in range(rounds):
            for name in random.sample(list(made), len(made)):
                spans[name].append(spent(made[name], batches))
    base = spans.pop("bare")
    found: dict[str, Any] = {
        "milliseconds": 1e3 * statistics.median(wall for wall, _ in base),
        "rounds": rounds,
        "failed": failed,
        "torch": torch.__version__,
    }
    for which, clock in enumerate(("wall", "processor")):
        found[clock] = {
            name: statistics.quantiles(
                [a[which] / b[which] for a, b in zip(own, base, strict=True)]
            )
            for name, own in spans.items()
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ["WANDB_SILENT"] = "true"
    torch.set_num_threads(2)
    found = measure(options.rounds)
    print(f"PyTorch {found['torch']}: {found['milliseconds']:.2f} ms a step")
    for name, (low, middle, high) in found["wall"].items():
        used = found["processor"][name][1]
        told = f"{middle:.3f}  [{low:.3f}, {high:.3f}]  processor {used:.3f}"
        print(f"  {told}  {name}")
    for name, reason in found["failed"].items():
        print(f"  did not run: {name} ({reason})")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), "utf-8")


if __name__ == "__main__":
    main()
