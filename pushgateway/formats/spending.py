"""How much memory will a push take while it is prepared?

Bytes of a body do not tell: 100 000 samples with one label and 1 000 with a hundred may have as many. So readers add up
what they make, as they make it, and the one limit `prepared_bytes` covers all of it. The figures are what a sample and
its parts take at the peak, when a push has been labelled and is being rendered; measured with bodies that have much of
one and little of the others (docs/explanation/memory.md), they are wrong by a quarter at most.
"""

from __future__ import annotations

from typing import Final

from pushgateway.errors import LimitError
from pushgateway.limits import Limits

__all__ = ["check_spending"]

_SAMPLE_BYTES: Final = 500
_FAMILY_BYTES: Final = 600
_LABEL_BYTES: Final = 130
_TEXT_BYTES: Final = 5
"""For each byte of names, values and HELP texts: the text itself, both forms of the result, and copies on the way."""

_WIDE_BYTES: Final = 8
"""More for each byte of text that is not ASCII: one emoji makes Python keep a string at four bytes a character."""


def check_spending(
    limits: Limits, *, samples: int, families: int, labels: int, text_bytes: int, wide_bytes: int
) -> None:
    """Refuse a push that would take too much memory, as far as it has been read.

    Args:
        limits: `prepared_bytes` is what it may take.
        samples: Sample lines, or what makes one.
        families: Families.
        labels: Labels of all samples.
        text_bytes: What was read.
        wide_bytes: How much of that stands near a character that is not ASCII.

    Raises:
        LimitError: It is more (`prepared-bytes`).
    """
    needed = (
        samples * _SAMPLE_BYTES
        + families * _FAMILY_BYTES
        + labels * _LABEL_BYTES
        + text_bytes * _TEXT_BYTES
        + wide_bytes * _WIDE_BYTES
    )
    if needed > limits.prepared_bytes:
        raise LimitError("prepared-bytes", allowed=limits.prepared_bytes, seen=needed)
