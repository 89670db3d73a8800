"""How are families exposed in OpenMetrics, when what was pushed may say what OpenMetrics forbids?

A counter ``x_total`` is the family ``x`` there, and a counter ``x`` has samples named ``x_total``. Two things can be in
the way, and neither may break the exposition:

- Another family has, or claims, a name that this one would claim (`exposed_names`). Then its lines keep the names that
  they have in text 0.0.4, each name a family of type unknown, and do not tell when series began.
- A metric says what its type may not: a negative counter, buckets that fall. Then the lines of its family have the
  names that they would have otherwise, but each name is a family of type unknown.

Families of type unknown have no exemplars.

So the names of series depend on the names and types of all families, never on values. Buckets are put in order, and of
buckets or quantiles with the same bound the first is exposed, as a scraper would take it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from operator import attrgetter
from typing import Final, NamedTuple

from pushgateway.formats.line_starts import PairTexts, escape, pair_text, starts, written_name
from pushgateway.formats.numbers import uint64_or_none
from pushgateway.formats.openmetrics_kinds import KINDS, Kind, Part
from pushgateway.formats.openmetrics_numbers import format_count, format_float, format_seconds, is_instant
from pushgateway.model import Exemplar, Histogram, Labels, MetricFamily, MetricType, Sample, Summary
from pushgateway.names import LABEL_NAME_RE, is_metric_name

__all__ = ["END", "Names", "exposed_names", "render", "render_family"]

END: Final = b"# EOF\n"
"""The last line of every exposition."""

_KINDS: Final = {
    MetricType.COUNTER: KINDS["counter"],
    MetricType.GAUGE: KINDS["gauge"],
    MetricType.UNTYPED: KINDS["unknown"],
    MetricType.SUMMARY: KINDS["summary"],
    MetricType.HISTOGRAM: KINDS["histogram"],
    MetricType.GAUGE_HISTOGRAM: KINDS["gaugehistogram"],
}
_TEXT_SUFFIXES: Final = {
    MetricType.SUMMARY: {Part.QUANTILE: "", Part.SUM: "_sum", Part.COUNT: "_count"},
    MetricType.HISTOGRAM: {Part.BUCKET: "_bucket", Part.SUM: "_sum", Part.COUNT: "_count"},
    MetricType.GAUGE_HISTOGRAM: {Part.BUCKET: "_bucket", Part.SUM: "_sum", Part.COUNT: "_count"},
}
"""What the samples of a type are named in text 0.0.4; those of the other types are named like their family."""

_EXEMPLAR_CHARACTERS: Final = 128
_NS_PER_MS: Final = 10**6

_label_name = re.compile(LABEL_NAME_RE).fullmatch
_unit = re.compile("[a-zA-Z0-9_:]+").fullmatch


class Names(NamedTuple):
    """How a family is named in an exposition.

    Attributes:
        family: Its name, if its type is told.
        samples: The names of its samples; one of them is missing if it cannot be said.
        typed: Whether its type may be told.
    """

    family: str
    samples: Mapping[Part, str]
    typed: bool


def exposed_names(types: Mapping[str, MetricType]) -> dict[str, Names]:
    """Choose names for all families of an exposition, so that none claims a name of another.

    Args:
        types: The families, by the names that they have in text 0.0.4, in which no two claim the same name
            (`pushgateway.rules.check`).

    Returns:
        For each family its names.
    """
    owners = {name: family for family, type_ in types.items() for name in _text_names(family, type_).values()}
    owners |= {family: family for family in types}
    chosen = {}
    for family, type_ in sorted(types.items()):
        kind = _KINDS[type_]
        name = _family_name(family, kind)
        claimed = kind.names(name)
        if all(owners.get(one, family) == family for one in claimed):
            owners |= dict.fromkeys(claimed, family)
            chosen[family] = Names(name, {part: name + suffix for suffix, part in kind.parts.items()}, typed=True)
        else:
            chosen[family] = Names(family, _text_names(family, type_), typed=False)
    return chosen


def _family_name(family: str, kind: Kind) -> str:
    if kind.stored_suffix and len(family) > len(kind.stored_suffix):
        return family.removesuffix(kind.stored_suffix)
    return family


def _text_names(family: str, type: MetricType) -> dict[Part, str]:
    suffixes = _TEXT_SUFFIXES.get(type)
    if suffixes is None:
        part = Part.TOTAL if type is MetricType.COUNTER else Part.VALUE
        return {part: family}
    return {part: family + suffix for part, suffix in suffixes.items()}


def render(families: Iterable[MetricFamily]) -> bytes:
    """Write a whole exposition: families sorted by name, each with its header; those without metrics are left out.

    Args:
        families: Their names are unique, as are the labels of the metrics of one, and no two claim the same name in
            text 0.0.4.
    """
    shown = sorted((family for family in families if family.metrics), key=attrgetter("name"))
    names = exposed_names({family.name: family.type for family in shown})
    return b"".join([*(render_family(family, names[family.name]) for family in shown), END])


def render_family(family: MetricFamily, names: Names) -> bytes:
    """Write one family.

    Args:
        family: It has metrics.
        names: What `exposed_names` says for it.

    Returns:
        Its header and sample lines; several families, if its type cannot be told.
    """
    kind = _KINDS[family.type]
    texts = PairTexts()
    lines = _Lines(names.samples)
    valid = names.typed
    for metric in family.metrics:
        lines.begin(",".join([texts[pair] for pair in metric.labels]), metric.timestamp_ms)
        if isinstance(metric, Sample):
            valid = valid and (metric.value >= 0 or kind.type is not MetricType.COUNTER)
            lines.add_sample(metric)
        elif isinstance(metric, Summary):
            valid = valid and _is_valid_summary(metric)
            lines.add_summary(metric)
        else:
            histogram = _in_order(metric)
            valid = valid and _is_valid_histogram(histogram, kind)
            lines.add_histogram(histogram)
    if valid:
        head = _header(names.family, kind.word, help=family.help, unit=family.unit)
        return (head + "".join([f"{line}{exemplar}\n" for _, line, exemplar in lines.written])).encode()
    parts: dict[str, list[str]] = {}
    for name, line, _ in lines.written:
        parts.setdefault(name, []).append(f"{line}\n")
    unknown = KINDS["unknown"].word
    return "".join(
        _header(name, unknown, help=family.help) + "".join(written) for name, written in parts.items()
    ).encode()


def _header(name: str, word: str, *, help: str, unit: str = "") -> str:
    written = written_name(name)
    head = f"# TYPE {written} {word}\n"
    if unit and name.endswith(f"_{unit}") and _unit(unit):
        head += f"# UNIT {written} {unit}\n"
    return f"{head}# HELP {written} {escape(help)}\n" if help else head


class _Lines:
    """The lines of a family while they are written.

    Attributes:
        written: For each line the name of its sample, the line without its LF, and the exemplar behind it.
    """

    __slots__ = ("_labels", "_stamp", "_starts", "_value_part", "written")

    def __init__(self, names: Mapping[Part, str]) -> None:
        self.written: list[tuple[str, str, str]] = []
        self._starts = {part: (name, *starts(name, legacy=is_metric_name(name))) for part, name in names.items()}
        self._value_part = Part.TOTAL if Part.TOTAL in names else Part.VALUE
        self._labels = self._stamp = ""

    def begin(self, labels: str, timestamp_ms: int | None) -> None:
        """Begin a metric with these labels, joined by commas."""
        self._labels = labels
        self._stamp = "" if timestamp_ms is None else f" {format_seconds(timestamp_ms * _NS_PER_MS)}"

    def _add(self, part: Part, value: str, *, bound: str = "", exemplar: str = "") -> None:
        name, bare, labelled = self._starts[part]
        labels = f"{self._labels},{bound}" if bound and self._labels else bound or self._labels
        start = f"{labelled}{labels}}}" if labels else bare
        self.written.append((name, f"{start} {value}{self._stamp}", exemplar))

    def add_sample(self, sample: Sample) -> None:
        self._add(self._value_part, format_float(sample.value), exemplar=_exemplar_text(sample.exemplar))
        self._add_created(sample.created_ns)

    def add_summary(self, summary: Summary) -> None:
        values = dict(reversed(summary.quantiles))
        for quantile in dict.fromkeys(quantile for quantile, _ in summary.quantiles):
            bound = f'quantile="{format_float(quantile)}"'
            self._add(Part.QUANTILE, format_float(values[quantile]), bound=bound)
        self._add(Part.SUM, format_float(summary.sum))
        self._add(Part.COUNT, format_count(summary.count))
        self._add_created(summary.created_ns)

    def add_histogram(self, histogram: Histogram) -> None:
        for (limit, count), exemplar in zip(histogram.buckets, histogram.exemplars, strict=True):
            bound = f'le="{format_float(limit)}"'
            exemplar_text = _exemplar_text(exemplar, at_most=limit)
            self._add(Part.BUCKET, format_count(count), bound=bound, exemplar=exemplar_text)
        self._add(Part.COUNT, format_count(histogram.count))
        self._add(Part.SUM, format_float(histogram.sum))
        self._add_created(histogram.created_ns)

    def _add_created(self, created_ns: int | None) -> None:
        if created_ns is not None and Part.CREATED in self._starts and is_instant(created_ns):
            self._add(Part.CREATED, format_seconds(created_ns))


def _exemplar_text(exemplar: Exemplar | None, *, at_most: float = math.inf) -> str:
    """Write an exemplar with the blank before it; nothing for one that OpenMetrics cannot say."""
    if exemplar is None or not exemplar.value <= at_most or not _is_valid_label_set(exemplar.labels):
        return ""
    at_ns = exemplar.timestamp_ns
    stamp = f" {format_seconds(at_ns)}" if at_ns is not None and is_instant(at_ns) else ""
    return f" # {{{','.join(map(pair_text, exemplar.labels))}}} {format_float(exemplar.value)}{stamp}"


def _is_valid_label_set(labels: Labels) -> bool:
    # prometheus_client, which other scrapers are built on, loses its way at a quote in a value here.
    return (
        sum(len(name) + len(value) for name, value in labels) <= _EXEMPLAR_CHARACTERS
        and len(dict(labels)) == len(labels)
        and all(_label_name(name) and name != "__name__" and '"' not in value for name, value in labels)
    )


# What a type may say


def _is_valid_summary(summary: Summary) -> bool:
    return summary.sum >= 0 and all(0 <= bound <= 1 and not value < 0 for bound, value in summary.quantiles)


def _is_valid_histogram(histogram: Histogram, kind: Kind) -> bool:
    """Return whether a histogram whose buckets are in order may be told as one."""
    bounds = [bound for bound, _ in histogram.buckets]
    counts = [count for _, count in histogram.buckets]
    negative = bounds[0] < 0
    if kind.type is MetricType.HISTOGRAM:
        sum_is_valid = histogram.sum >= 0 and not negative
    else:
        sum_is_valid = histogram.sum >= 0 or (negative and not math.isnan(histogram.sum))
    return (
        sum_is_valid
        and not any(map(math.isnan, bounds))
        and all(uint64_or_none(count) is not None for count in counts)
        and all(before <= after for before, after in pairwise(counts))
        and counts[-1] == histogram.count
    )


def _in_order(histogram: Histogram) -> Histogram:
    """Return a histogram with its buckets sorted by bound, each bound once, the last of them +Inf."""
    exemplars = histogram.exemplars or (None,) * len(histogram.buckets)
    buckets: dict[float, tuple[float, Exemplar | None]] = {}
    for (bound, count), exemplar in zip(histogram.buckets, exemplars, strict=True):
        buckets.setdefault(math.nan if math.isnan(bound) else bound, (count, exemplar))
    buckets.setdefault(math.inf, (histogram.count, None))
    ordered = sorted(buckets.items(), key=lambda item: (math.isnan(item[0]), item[0]))
    return histogram._replace(
        buckets=tuple((bound, count) for bound, (count, _) in ordered),
        exemplars=tuple(exemplar for _, (_, exemplar) in ordered),
    )
