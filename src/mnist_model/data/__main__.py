"""``python -m mnist_model.data fetch``: download the full MNIST."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnist_model.arguments import Parser
from mnist_model.data.download import default_directory, fetch
from mnist_model.errors import DataError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a failure ends it with one line and exit code 2."""
    parser = Parser(prog="python -m mnist_model.data")
    commands = parser.add_subparsers(required=True, metavar="fetch")
    command = commands.add_parser("fetch", help="download the full MNIST")
    command.add_argument(
        "--to",
        metavar="DIR",
        type=Path,
        default=default_directory(),
        help="default: %(default)s",
    )
    try:
        directory = fetch(parser.parse_args(arguments).to)
    except DataError as error:
        parser.error(str(error))
    print(f"python -m mnist_model --data {directory}")


if __name__ == "__main__":
    main()
