"""What are the values of one family of a group, and how many of them fit on a page?

A family may have a hundred thousand series, a series a hundred labels of 64 KiB, a histogram a hundred thousand
buckets. Only what is shown is decoded, and whatever is shown is cut to size: what remains is told as a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Final, NamedTuple

from pushgateway.display.bars import Bars, draw
from pushgateway.display.quantiles import estimate
from pushgateway.display.quantities import Quantity, quantity_of
from pushgateway.display.texts import Excerpt, excerpt
from pushgateway.formats.protobuf import cut_metrics, decode_metrics
from pushgateway.model import Exemplar, FamilyBlock, Histogram, Labels, Metric, MetricType, Sample, Summary

__all__ = ["SHARES", "FamilyView", "Label", "MarkView", "SeriesView", "view_family"]

SHARES: Final = (0.5, 0.9, 0.95, 0.99)
"""The quantiles that are estimated of histograms."""

_MOST_LABELS: Final = 16
_MOST_COLUMNS: Final = 4
"""More label names than that do not fit side by side; then each series shows its pairs."""
_MOST_QUANTILES: Final = 20
_MOST_EXEMPLARS: Final = 5
_NAME_CHARACTERS: Final = 100
_VALUE_CHARACTERS: Final = 200
_HELP_CHARACTERS: Final = 1000

_SERIES_WEIGHT: Final = 400
_PART_WEIGHT: Final = 150
_BAR_WEIGHT: Final = 400
"""About how many bytes of HTML a series, a label or a bar takes besides its texts."""


class Label(NamedTuple):
    """A label as it is shown."""

    name: Excerpt
    value: Excerpt


class MarkView(NamedTuple):
    """An exemplar: what was observed, when (Unix seconds, None if that is not known), and its labels."""

    value: float
    at_seconds: float | None
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class SeriesView:
    """One series.

    Attributes:
        labels: Those that are not the group's and not empty; the first ones of many.
        hidden_labels: How many more there are.
        cells: The values of the labels in the columns of the family; None where there is no such label.
        value: Of a counter, gauge or untyped series.
        sum: Of a summary or histogram.
        count: Of a summary or histogram.
        mean: The sum by the count; None without observations.
        quantiles: (share, value): as pushed in a summary, estimated of a histogram.
        hidden_quantiles: How many more a summary has.
        bars: A histogram drawn.
        at_seconds: The Unix time that the body gave the sample.
        created_seconds: The Unix time since which it counts, if the body gave it.
        marks: Its first exemplars.
        hidden_marks: How many more there are.
    """

    labels: tuple[Label, ...]
    hidden_labels: int
    cells: tuple[Excerpt | None, ...]
    value: float | None = None
    sum: float | None = None
    count: float | None = None
    mean: float | None = None
    quantiles: tuple[tuple[float, float], ...] = ()
    hidden_quantiles: int = 0
    bars: Bars | None = None
    at_seconds: float | None = None
    created_seconds: float | None = None
    marks: tuple[MarkView, ...] = ()
    hidden_marks: int = 0

    def quantile(self, share: float) -> float | None:
        """Return one of the quantiles, None if the series has no such."""
        return dict(self.quantiles).get(share)


@dataclass(frozen=True, slots=True)
class FamilyView:
    """One family.

    Attributes:
        name: In full, for links.
        title: Its name as it is shown.
        type: Its type.
        help: Its help text.
        unit: Its unit, "" for none.
        quantity: What its values measure.
        pushed_at_seconds: Unix time of its newest push.
        suspect: Whether an unchecked push that conflicts has stored it.
        columns: The label names of the table; () if there are none, or too many for one.
        series: What is shown.
        start: How many series come before.
        total: How many there are in all.
        weight: About how many bytes of HTML it takes.
    """

    name: str
    title: Excerpt
    type: MetricType
    help: Excerpt
    unit: str
    quantity: Quantity
    pushed_at_seconds: float
    suspect: bool
    columns: tuple[Excerpt, ...]
    series: tuple[SeriesView, ...]
    start: int
    total: int
    weight: int

    @property
    def single(self) -> SeriesView | None:
        """The only series of a family that has a value and no labels of its own; it needs no table."""
        only = self.series[0] if self.total == len(self.series) == 1 else None
        return only if only and only.value is not None and not only.labels else None

    @property
    def labelled(self) -> bool:
        """Whether any series has labels of its own."""
        return any(one.labels for one in self.series)

    @property
    def timed(self) -> bool:
        """Whether any series has a time of its own."""
        return any(one.at_seconds is not None for one in self.series)

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares of the quantiles of all series, sorted, at most as many as one series shows."""
        found = sorted({share for one in self.series for share, _ in one.quantiles})
        return tuple(found[:_MOST_QUANTILES])


def view_family(block: FamilyBlock, shared: Labels, *, start: int, most: int, room: int) -> FamilyView:
    """Make some series of a family ready to be shown.

    Args:
        block: The family, in METRICS form.
        shared: The labels that all series of the group have, which are not shown again.
        start: How many series to pass over.
        most: How many to show.
        room: How many bytes of HTML they may take, about. At least one series is shown while there is any room.

    Raises:
        google.protobuf.message.DecodeError: The stored body is damaged.
    """
    total, part = cut_metrics(block.body, start=start, count=most if room > 0 else 0)
    metrics = decode_metrics(block.type, part)
    own = [_own_labels(metric.labels, shared) for metric in metrics]
    names = list(islice(dict.fromkeys(name for labels in own for name, _ in labels), _MOST_COLUMNS + 1))
    columns = tuple(sorted(names)) if len(names) <= _MOST_COLUMNS else ()
    series: list[SeriesView] = []
    title = excerpt(block.name, _VALUE_CHARACTERS)
    help_ = excerpt(block.help, _HELP_CHARACTERS)
    weight = 2 * _SERIES_WEIGHT + len(title.text) + len(help_.text)
    for metric, labels in zip(metrics, own, strict=True):
        if weight >= room and series:
            break
        one = _view_series(metric, labels, columns)
        series.append(one)
        weight += _weight(one)
    return FamilyView(
        name=block.name,
        title=title,
        type=block.type,
        help=help_,
        unit=excerpt(block.unit, _NAME_CHARACTERS).text,
        quantity=quantity_of(block.name, block.type, unit=block.unit),
        pushed_at_seconds=block.pushed_at_seconds,
        suspect=block.suspect,
        columns=tuple(excerpt(name, _NAME_CHARACTERS) for name in columns),
        series=tuple(series),
        start=min(start, total),
        total=total,
        weight=weight,
    )


def _own_labels(labels: Labels, shared: Labels) -> Labels:
    """Return what tells a series from the others of the group; an empty label is the same as none."""
    return tuple(pair for pair in labels if pair[1] and pair not in shared)


def _view_series(metric: Metric, labels: Labels, columns: Sequence[str]) -> SeriesView:
    values = dict(labels)
    marks = list(_exemplars(metric))
    view = SeriesView(
        labels=_view_labels(labels),
        hidden_labels=max(0, len(labels) - _MOST_LABELS),
        cells=tuple(excerpt(values[name], _VALUE_CHARACTERS) if name in values else None for name in columns),
        at_seconds=None if metric.timestamp_ms is None else metric.timestamp_ms / 1000,
        created_seconds=None if metric.created_ns is None else metric.created_ns / 1e9,
        marks=tuple(map(_view_mark, marks[:_MOST_EXEMPLARS])),
        hidden_marks=max(0, len(marks) - _MOST_EXEMPLARS),
    )
    if isinstance(metric, Sample):
        return replace(view, value=metric.value)
    mean = metric.sum / metric.count if metric.count else None
    view = replace(view, sum=metric.sum, count=metric.count, mean=mean)
    if isinstance(metric, Summary):
        hidden = max(0, len(metric.quantiles) - _MOST_QUANTILES)
        return replace(view, quantiles=metric.quantiles[:_MOST_QUANTILES], hidden_quantiles=hidden)
    estimates = tuple(zip(SHARES, estimate(metric, SHARES), strict=True))
    return replace(view, quantiles=estimates, bars=draw(metric))


def _view_labels(labels: Labels) -> tuple[Label, ...]:
    return tuple(
        Label(excerpt(name, _NAME_CHARACTERS), excerpt(value, _VALUE_CHARACTERS))
        for name, value in labels[:_MOST_LABELS]
    )


def _exemplars(metric: Metric) -> Iterable[Exemplar]:
    if isinstance(metric, Histogram):
        native = metric.native.exemplars if metric.native is not None else ()
        return chain((one for one in metric.exemplars if one is not None), native)
    return [metric.exemplar] if isinstance(metric, Sample) and metric.exemplar is not None else []


def _view_mark(exemplar: Exemplar) -> MarkView:
    at_seconds = None if exemplar.timestamp_ns is None else exemplar.timestamp_ns / 1e9
    return MarkView(exemplar.value, at_seconds, _view_labels(exemplar.labels))


def _weight(series: SeriesView) -> int:
    texts = [*series.labels, *(label for mark in series.marks for label in mark.labels)]
    weight = sum(len(label.name.text) + len(label.value.text) + _PART_WEIGHT for label in texts)
    weight += _PART_WEIGHT * (len(series.quantiles) + len(series.marks))
    return weight + _SERIES_WEIGHT + _BAR_WEIGHT * (len(series.bars.bars) if series.bars else 0)
