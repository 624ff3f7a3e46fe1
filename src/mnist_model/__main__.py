"""``python -m mnist_model``: train, and print each epoch and the test accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import jax

from mnist_model.arguments import Parser
from mnist_model.classifier import Classifier
from mnist_model.errors import DataError, SettingsError
from mnist_model.presets import PRESETS
from mnist_model.settings import unknown
from mnist_model.training import train


def build_parser() -> Parser:
    """The options of the command."""
    parser = Parser(prog="python -m mnist_model", description="Train on MNIST.")
    parser.add_argument(
        "--preset",
        default=next(iter(PRESETS)),
        metavar="NAME",
        help=f"{', '.join(PRESETS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="assignments",
        help="change one setting of the preset; may be given again",
    )
    parser.add_argument("--data", metavar="PATH", help="a data set instead of MNIST")
    parser.add_argument("--epochs", metavar="N", help="passes over the training set")
    parser.add_argument("--seed", metavar="N", type=int, default=0)
    return parser


def build_target(
    preset: str, assignments: Sequence[str], **changes: str | None
) -> Classifier:
    """The classifier that the command line describes.

    Raises:
        SettingsError: if the preset, a setting or a value is unknown.
    """
    if preset not in PRESETS:
        raise SettingsError(f"preset {preset!r} {unknown(preset, PRESETS)}")
    pairs: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise SettingsError(f"--set {assignment!r} has no '='; write key=value")
        pairs[name.strip()] = value.strip()
    given = {name: value for name, value in changes.items() if value is not None}
    return Classifier(PRESETS[preset]).with_settings(**pairs | given)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; bad input ends it with one line and exit code 2."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        target = build_target(
            options.preset,
            options.assignments,
            data=options.data,
            epochs=options.epochs,
        )
        for epoch in train(target, jax.random.key(options.seed)):
            print(
                f"epoch {epoch.number:3d}  loss {epoch.loss:.4f}"
                f"  accuracy {epoch.accuracy:.2%}"
                f"  test loss {epoch.test_loss:.4f}"
                f"  test accuracy {epoch.test_accuracy:.2%}",
                flush=True,
            )
    except (DataError, SettingsError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
