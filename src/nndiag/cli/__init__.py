"""Words on a command line become a session, a report and an exit code.

One file is one command. Nothing heavy is imported before a command runs, so that
``nndiag --help`` answers at once.
"""

from nndiag.cli.application import main as main
