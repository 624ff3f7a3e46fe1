"""Replays a program equation by equation, in search of the first NaN or Inf."""

from nndiag.replay.examination import autopsy as autopsy
from nndiag.replay.guarding import Guard as Guard
from nndiag.replay.guarding import Guarded as Guarded
from nndiag.replay.guarding import guard as guard
from nndiag.replay.guarding import is_sound as is_sound
from nndiag.replay.judging import LookFor as LookFor
