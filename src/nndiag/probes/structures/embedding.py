"""Embeddings: tables of trained rows that data looks up by their number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax.numpy as jnp

from nndiag.probes.structures.graph import Value
from nndiag.probes.structures.patterns import CAST, through


def find(values: Sequence[Value]) -> Iterator[int]:
    """The numbers of the differentiated leaves that are tables."""
    for value in values:
        if value.name != "gather":
            continue
        table, indices = value.operands[:2]
        leaf = through(table, CAST).leaf
        data = jnp.issubdtype(indices.aval.dtype, jnp.integer)
        data = data and not indices.fact.weight
        if leaf >= 0 and data and _takes_rows(value, table):
            yield leaf


def _takes_rows(value: Value, table: Value) -> bool:
    """Whether whole rows of the table are taken, by one index each."""
    sizes = tuple(value.equation.params["slice_sizes"])
    numbers = value.equation.params["dimension_numbers"]
    whole = len(table.shape) >= 2 and sizes == (1, *table.shape[1:])
    return whole and 0 in numbers.start_index_map
