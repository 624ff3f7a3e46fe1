"""What to show of a run: text, numbers and pictures, no looks."""

from nndiag.report.blocks import Report as Report
from nndiag.report.build import build as build
