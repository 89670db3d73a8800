"""What does the exposition of a group say, and how does it begin where it is long?"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final, NamedTuple

from pushgateway.display.texts import visible
from pushgateway.formats import protobuf, text
from pushgateway.model import (
    FamilyBlock,
    Group,
    GroupContents,
    GroupingKey,
    Histogram,
    Metric,
    MetricFamily,
    MetricType,
    Sample,
    Summary,
)
from pushgateway.names import PUSH_FAILURE_TIME, PUSH_FAILURE_TIME_HELP, PUSH_TIME, PUSH_TIME_HELP
from pushgateway.rules import group_labels

__all__ = ["Beginning", "begin_exposition", "render_exposition"]

_METRICS: Final = 100
"""How many metrics of a family are rendered for a beginning; the others could not be shown beside them."""


class Beginning(NamedTuple):
    """The first lines of an exposition, with escapes for what cannot be seen, and whether that is all of it."""

    text: str
    whole: bool


def render_exposition(contents: GroupContents) -> bytes:
    """Write all that a scrape says of a group, in text 0.0.4: its families, sorted by name, and its push times.

    Names beyond the legacy grammar are in quotes.

    Raises:
        google.protobuf.message.DecodeError: A stored body is damaged.
    """
    families = [_family(block, block.body) for block in contents.families]
    return text.render([*families, *_times(contents.group)])


def begin_exposition(blocks: Iterable[FamilyBlock], *, most: int) -> Beginning:
    """Write families in text 0.0.4 until there is no more room.

    Args:
        blocks: The families, in the order in which they are wanted.
        most: How many characters there may be.
    """
    lines: list[str] = []
    whole = True
    for block in blocks:
        if most <= 0:
            whole = False
            break
        total, part = protobuf.cut_metrics(block.body, start=0, count=_METRICS)
        family = _family(block, part)
        family = family._replace(metrics=tuple(_shortened(metric, most) for metric in family.metrics))
        written = text.render([family]).decode()
        shown = visible(written[:most], keep="\n")
        whole = whole and total <= _METRICS and len(written) <= most
        lines.append(shown)
        most -= len(written)
    return Beginning("".join(lines), whole)


def _shortened(metric: Metric, most: int) -> Metric:
    """Leave out buckets and quantiles that would stand behind so many characters: each line has more than ten."""
    if isinstance(metric, Histogram):
        return metric._replace(buckets=metric.buckets[: most // 10 + 1])
    return metric._replace(quantiles=metric.quantiles[: most // 10 + 1]) if isinstance(metric, Summary) else metric


def _family(block: FamilyBlock, body: bytes) -> MetricFamily:
    return MetricFamily(block.name, block.type, block.help, protobuf.decode_metrics(block.type, body), block.unit)


def _times(group: Group) -> Iterable[MetricFamily]:
    labels = group_labels(GroupingKey.of((name, value) for name, value in json.loads(group.key)))
    for name, help_, seconds in (
        (PUSH_TIME, PUSH_TIME_HELP, group.pushed_at_seconds),
        (PUSH_FAILURE_TIME, PUSH_FAILURE_TIME_HELP, group.failed_at_seconds),
    ):
        yield MetricFamily(name, MetricType.GAUGE, help_, (Sample(labels, seconds),))
