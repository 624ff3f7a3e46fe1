"""Run directories: writing, reading and listing them. Imports no JAX.

The layout and the tables are documented in ``docs/run-directory.md``.
"""

from nndiag.store.autopsies import autopsy_document as autopsy_document
from nndiag.store.autopsies import read_document as read_document
from nndiag.store.header import require_new as require_new
from nndiag.store.listing import RunSummary as RunSummary
from nndiag.store.listing import list_runs as list_runs
from nndiag.store.nowhere import Nowhere as Nowhere
from nndiag.store.reader import read as read
from nndiag.store.schema import SCHEMA_VERSION as SCHEMA_VERSION
from nndiag.store.streaming import Entry as Entry
from nndiag.store.streaming import stream as stream
from nndiag.store.writer import Writer as Writer
from nndiag.store.writer import create as create
