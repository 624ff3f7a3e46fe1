"""The nouns: plain values that every other room speaks in. Imports no JAX."""

from nndiag.records.finding import Evidence as Evidence
from nndiag.records.finding import Finding as Finding
from nndiag.records.finding import Severity as Severity
from nndiag.records.readings import QUANTITIES as QUANTITIES
from nndiag.records.readings import Array as Array
from nndiag.records.readings import Readings as Readings
from nndiag.records.readings import Role as Role
from nndiag.records.readings import StepRecord as StepRecord
from nndiag.records.readings import TensorStats as TensorStats
from nndiag.records.run import Floats as Floats
from nndiag.records.run import Header as Header
from nndiag.records.run import Integers as Integers
from nndiag.records.run import Layer as Layer
from nndiag.records.run import Run as Run
from nndiag.records.run import Status as Status
from nndiag.records.site import Site as Site
from nndiag.records.site import SiteKind as SiteKind
