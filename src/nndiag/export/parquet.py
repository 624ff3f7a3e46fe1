# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# pyright: reportMissingImports=false
"""A run as Apache Parquet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nndiag.export.table import COLUMNS, Row, groups

_GROUP = 1 << 17
"""Rows in a row group: what is held in memory at a time."""


def write(path: Path, document: str, rows: Iterable[Row]) -> None:
    """Write the table, with the document in the file's metadata under ``nndiag``.

    Numbers are float64, whose NaN and infinities Parquet keeps; there are no nulls.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"step": pa.int64(), "line": pa.int64(), "value": pa.float64()}
    schema = pa.schema(
        [pa.field(name, types.get(name, pa.string()), False) for name in COLUMNS],
        metadata={"nndiag": document},
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for group in groups(rows, _GROUP):
            columns = [list(column) for column in zip(*group, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
