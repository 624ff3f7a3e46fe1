"""The nouns: plain values that every other room speaks in. Imports no JAX."""

from nndiag.records.autopsy import Autopsy as Autopsy
from nndiag.records.autopsy import Direction as Direction
from nndiag.records.autopsy import Kind as Kind
from nndiag.records.autopsy import Link as Link
from nndiag.records.autopsy import Operand as Operand
from nndiag.records.finding import Evidence as Evidence
from nndiag.records.finding import Finding as Finding
from nndiag.records.finding import Severity as Severity
from nndiag.records.readings import QUANTITIES as QUANTITIES
from nndiag.records.readings import Array as Array
from nndiag.records.readings import Readings as Readings
from nndiag.records.readings import Role as Role
from nndiag.records.readings import StepRecord as StepRecord
from nndiag.records.readings import TensorStats as TensorStats
from nndiag.records.run import NAN_CHECK_REVIVED as NAN_CHECK_REVIVED
from nndiag.records.run import Floats as Floats
from nndiag.records.run import Header as Header
from nndiag.records.run import Integers as Integers
from nndiag.records.run import Layer as Layer
from nndiag.records.run import Run as Run
from nndiag.records.run import Status as Status
from nndiag.records.site import Site as Site
from nndiag.records.site import SiteKind as SiteKind
