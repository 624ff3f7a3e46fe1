"""A stored run in the formats of other tools. Imports no JAX.

Every format holds the same table, a row for each number: see `Row` for its columns.
"""

from nndiag.export.table import COLUMNS as COLUMNS
from nndiag.export.table import Row as Row
from nndiag.export.writing import FORMATS as FORMATS
from nndiag.export.writing import write as write
