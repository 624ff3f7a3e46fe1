"""The whole diagnosis of the deep sigmoid patient, word for word."""

import os
import textwrap
from pathlib import Path

from nndiag.rules import diagnose

GOLDEN = Path(__file__).parent / "golden" / "deep_sigmoid.txt"


def written(findings, depth=0):
    for finding in findings:
        lines = [
            f"{finding.severity} {finding.code} {finding.name} "
            f"({finding.confidence:.2f}, steps {finding.first_step} to "
            f"{finding.last_step})",
            finding.title,
            f"where: {', '.join(finding.sites)}",
            *(
                f"{e.quantity}: {e.value:.4g}"
                + (f" (threshold {e.threshold:g}; {e.source})" if e.threshold else "")
                for e in finding.evidence
            ),
            f"why: {finding.cause}",
            *(f"try: {remedy}" for remedy in finding.remedies),
        ]
        for line in lines:
            indent = "  " * depth
            yield textwrap.fill(
                line, 88, initial_indent=indent, subsequent_indent=indent + "    "
            )
        yield ""
        yield from written(finding.symptoms, depth + 1)


def test_deep_sigmoid(deep_sigmoid):
    """Set NNDIAG_OVERWRITE=1 to accept a changed text."""
    text = "\n".join(written(diagnose(deep_sigmoid)))
    if os.environ.get("NNDIAG_OVERWRITE"):
        GOLDEN.write_text(text, "utf-8")
    assert text == GOLDEN.read_text("utf-8")
