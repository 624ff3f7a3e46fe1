"""Gradients of the zoo through `torch.autograd.gradcheck`, in a Python with torch.

    python benchmarks/checkers_torch.py FOLDER

The folder has the arrays of the zoo and of each case the point and the gradient given.
`gradcheck` calls the backward pass at that point only.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.gradcheck import GradcheckError

ARRAYS: dict[str, Any] = {}


def constant(name: str) -> Any:
    array = torch.from_numpy(ARRAYS[name])
    if array.is_floating_point():
        return array.double()
    return array if array.dtype == torch.bool else array.long()


# the leaves come in the order of JAX: dictionaries by sorted keys


def dense(hidden_bias: Any, hidden: Any, output_bias: Any, output: Any) -> Any:
    inputs, targets = constant("dense.INPUTS"), constant("dense.TARGETS")
    signal = torch.tanh(inputs @ hidden + hidden_bias)
    error = signal @ output + output_bias - targets
    squares = (hidden**2).sum() + (output**2).sum()
    return (error**2).sum() / (2 * len(inputs)) + 0.1 / 2 * squares


def residual(first: Any, second: Any, third: Any) -> Any:
    signal = torch.tanh(constant("dense.INPUTS") @ first)
    signal = signal + torch.tanh(signal @ second)
    return ((signal @ third - constant("dense.TARGETS")) ** 2).mean()


def convolution(bias: Any, kernel: Any) -> Any:
    images = constant("convolution.IMAGES").permute(0, 3, 1, 2)
    signal = F.conv2d(images, kernel.permute(3, 2, 0, 1), bias, padding=1)
    weights = constant("convolution.WEIGHTS").permute(0, 3, 1, 2)
    return (weights * torch.tanh(signal)).mean()


def norm(scale: Any, shift: Any, x: Any, axis: int) -> Any:
    centred = x - x.mean(axis, keepdim=True)
    normed = centred / torch.sqrt((centred**2).mean(axis, keepdim=True) + 1e-3)
    return (constant("normalisation.WEIGHTS") * (scale * normed + shift)).sum()


def attention(key: Any, query: Any, value: Any) -> Any:
    tokens, mask = constant("attention.TOKENS"), constant("attention.MASK")
    scores = (tokens @ query) @ (tokens @ key).T / 2
    scores = scores.masked_fill(~mask, -1e9)
    signal = torch.softmax(scores, 1) @ (tokens @ value)
    return (constant("attention.WEIGHTS") * signal).sum()


def cross_entropy(scores: Any) -> Any:
    return F.cross_entropy(scores, constant("losses.LABELS"))


def log_loss(scores: Any) -> Any:
    targets = F.one_hot(constant("losses.LABELS"), scores.shape[1]).double()
    return F.binary_cross_entropy(torch.sigmoid(scores), targets)


def huber(scores: Any) -> Any:
    return F.huber_loss(scores, torch.zeros_like(scores))


def recurrent(bias: Any, inner: Any, recurrent: Any) -> Any:
    inputs, weights = constant("sequences.INPUTS"), constant("sequences.WEIGHTS")
    state, total = torch.zeros_like(bias), torch.zeros((), dtype=torch.float64)
    for x, weight in zip(inputs, weights, strict=True):
        state = torch.tanh(state @ recurrent + x @ inner + bias)
        total = total + (weight * state).sum()
    return total / len(inputs)


def embedding(table: Any) -> Any:
    rows = torch.sin(table[constant("sequences.TOKENS")])
    return (rows * constant("sequences.WEIGHTS")).mean()


def running(signal: Any) -> Any:
    return (constant("sequences.TIMES") * torch.cumsum(signal, 0) ** 2).sum()


def weighed(x: Any, activation: str) -> Any:
    y = ACTIVATIONS[activation](x).ravel()
    return (y * constant("activations.WEIGHTS")[: y.numel()]).sum()


PROGRAMS: dict[str, Callable[..., Any]] = {
    "dense.loss": dense,
    "dense.residual": residual,
    "convolution.loss": convolution,
    "normalisation.loss": norm,
    "attention.loss": attention,
    "losses.cross_entropy": cross_entropy,
    "losses.log_loss": log_loss,
    "losses.huber": huber,
    "sequences.network": recurrent,
    "sequences.embedding": embedding,
    "sequences.running": running,
    "activations.weighed": weighed,
}
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "soft_sign": F.softsign,
    "silu": F.silu,
    "log_sigmoid": F.logsigmoid,
    "mish": F.mish,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "hard_sigmoid": F.hardsigmoid,
    "hard_silu": F.hardswish,
    "hard_tanh": F.hardtanh,
    "elu": F.elu,
    "celu": F.celu,
    "selu": F.selu,
    "softmax": partial(torch.softmax, dim=-1),
    "log_softmax": partial(torch.log_softmax, dim=-1),
    "logsumexp": partial(torch.logsumexp, dim=-1),
    "glu": F.glu,
    "exact_gelu": F.gelu,
    "gelu": partial(F.gelu, approximate="tanh"),
}


def given_backward(program: Callable[..., Any], grads: list[Any]) -> Any:
    """The program, whose backward pass is the gradient given."""

    class Given(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *leaves: Any) -> Any:
            return program(*leaves)

        @staticmethod
        def backward(ctx: Any, cotangent: Any) -> Any:
            return tuple(cotangent * grad for grad in grads)

    return Given.apply


def judge(name: str, place: str, options: Any, ill: bool, fast: bool) -> str:
    program = partial(PROGRAMS[place], **options)
    leaves = numbered(name, "x")
    point = tuple(leaf.requires_grad_() for leaf in leaves)
    grads = numbered(name, "g")
    checked = given_backward(program, grads) if grads else program
    try:
        torch.autograd.gradcheck(checked, point, fast_mode=fast)
    except GradcheckError:
        return "found" if ill else "false alarm"
    except Exception as error:
        print(name, error, file=sys.stderr)
        return "could not run"
    return "missed" if ill else "right"


def numbered(name: str, letter: str) -> list[Any]:
    found, number = [], 0
    while (key := f"{name}:{letter}{number}") in ARRAYS:
        array = np.ascontiguousarray(ARRAYS[key]).reshape(ARRAYS[key].shape)
        found.append(torch.from_numpy(array).double())
        number += 1
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    folder = Path(sys.argv[1])
    ARRAYS.update(np.load(folder / "arrays.npz"))
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))
    answers: dict[str, dict[str, str]] = {"torch": {}, "torch_fast": {}}
    for name, place, options, ill in cases:
        known = options.get("activation", "relu") in ACTIVATIONS
        if place in PROGRAMS and known:
            for tool, found in answers.items():
                fast = tool == "torch_fast"
                found[name] = judge(name, place, options, ill, fast)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
