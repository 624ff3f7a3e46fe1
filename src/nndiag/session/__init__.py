"""The hall: the one room that opens onto both wings."""

from nndiag.session.building import target as target
from nndiag.session.options import RunOptions as RunOptions
from nndiag.session.publishing import Outcome as Outcome
from nndiag.session.publishing import publish as publish
from nndiag.session.recording import Recording as Recording
from nndiag.session.recording import record as record
from nndiag.session.running import run as run
