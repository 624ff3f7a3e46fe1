"""What is wrong, where, why, and what to try: from a stored run alone."""

from nndiag.rules.catalogue import CATALOGUE as CATALOGUE
from nndiag.rules.catalogue import Rule as Rule
from nndiag.rules.diagnosis import diagnose as diagnose
from nndiag.rules.explanation import explain as explain
