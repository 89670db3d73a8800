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
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

from pushgateway.formats.numbers import uint64_or_none
from pushgateway.formats.openmetrics_kinds import KINDS, Kind, Part
from pushgateway.formats.openmetrics_numbers import format_count, format_float, format_seconds, is_instant
from pushgateway.model import Exemplar, Histogram, Labels, MetricFamily, MetricType, Sample, Summary
from pushgateway.names import LABEL_NAME_RE

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

_Line: TypeAlias = tuple[str, str, str]
"""The sample's name, the rest of the line, and the exemplar behind it."""


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
    texts = _PairTexts()
    metrics = family.metrics
    lines: list[_Line] = []
    valid = names.typed
    for metric in metrics:
        labels = [texts[pair] for pair in metric.labels]
        if isinstance(metric, Sample):
            valid = valid and (metric.value >= 0 or kind.type is not MetricType.COUNTER)
            lines += _sample_lines(metric, labels, names.samples)
        elif isinstance(metric, Summary):
            valid = valid and _is_valid_summary(metric)
            lines += _summary_lines(metric, labels, names.samples)
        else:
            metric = _in_order(metric)  # noqa: PLW2901  the same metric
            valid = valid and _is_valid_histogram(metric, kind)
            lines += _histogram_lines(metric, labels, names.samples)
    if valid:
        head = _header(names.family, kind.word, help=family.help, unit=family.unit)
        return (head + "".join([f"{name}{rest}{exemplar}\n" for name, rest, exemplar in lines])).encode()
    parts: dict[str, list[str]] = {}
    for name, rest, _ in lines:
        parts.setdefault(name, []).append(f"{name}{rest}\n")
    unknown = KINDS["unknown"].word
    return "".join(
        _header(name, unknown, help=family.help) + "".join(texts_of_name) for name, texts_of_name in parts.items()
    ).encode()


def _header(name: str, word: str, *, help: str, unit: str = "") -> str:
    head = f"# TYPE {name} {word}\n"
    if unit and name.endswith(f"_{unit}"):
        head += f"# UNIT {name} {unit}\n"
    return f"{head}# HELP {name} {_escaped(help)}\n" if help else head


def _escaped(text: str) -> str:
    if "\\" in text or '"' in text or "\n" in text:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text


def _pair_text(pair: tuple[str, str]) -> str:
    return f'{pair[0]}="{_escaped(pair[1])}"'


_MAX_PAIRS: Final = 1000
"""Beyond, a pair is more likely an identifier that never comes back, and keeping it costs more than it saves."""


class _PairTexts(dict[tuple[str, str], str]):
    """Label pairs as text, each written once a family: most pairs stand in every line."""

    def __missing__(self, pair: tuple[str, str]) -> str:
        text = _pair_text(pair)
        if len(self) < _MAX_PAIRS:
            self[pair] = text
        return text


# Lines


def _sample_lines(sample: Sample, labels: Sequence[str], names: Mapping[Part, str]) -> list[_Line]:
    braced, stamp = _in_braces(labels), _stamp(sample.timestamp_ms)
    total = names.get(Part.TOTAL)
    if total is None:
        return [(names[Part.VALUE], f"{braced} {format_float(sample.value)}{stamp}", "")]
    lines = [(total, f"{braced} {format_float(sample.value)}{stamp}", _exemplar_text(sample.exemplar))]
    return lines + _created_lines(sample.created_ns, braced, stamp, names)


def _summary_lines(summary: Summary, labels: Sequence[str], names: Mapping[Part, str]) -> list[_Line]:
    braced, stamp = _in_braces(labels), _stamp(summary.timestamp_ms)
    quantile = names[Part.QUANTILE]
    values = dict(reversed(summary.quantiles))
    return [
        *(
            (quantile, f"{_with_bound(labels, 'quantile', bound)} {format_float(values[bound])}{stamp}", "")
            for bound in dict.fromkeys(bound for bound, _ in summary.quantiles)
        ),
        (names[Part.SUM], f"{braced} {format_float(summary.sum)}{stamp}", ""),
        (names[Part.COUNT], f"{braced} {format_count(summary.count)}{stamp}", ""),
        *_created_lines(summary.created_ns, braced, stamp, names),
    ]


def _histogram_lines(histogram: Histogram, labels: Sequence[str], names: Mapping[Part, str]) -> list[_Line]:
    braced, stamp = _in_braces(labels), _stamp(histogram.timestamp_ms)
    bucket = names[Part.BUCKET]
    exemplars = histogram.exemplars or (None,) * len(histogram.buckets)
    return [
        *(
            (
                bucket,
                f"{_with_bound(labels, 'le', bound)} {format_count(count)}{stamp}",
                _exemplar_text(exemplar, at_most=bound),
            )
            for (bound, count), exemplar in zip(histogram.buckets, exemplars, strict=True)
        ),
        (names[Part.COUNT], f"{braced} {format_count(histogram.count)}{stamp}", ""),
        (names[Part.SUM], f"{braced} {format_float(histogram.sum)}{stamp}", ""),
        *_created_lines(histogram.created_ns, braced, stamp, names),
    ]


def _created_lines(created_ns: int | None, braced: str, stamp: str, names: Mapping[Part, str]) -> list[_Line]:
    created = names.get(Part.CREATED)
    if created is None or created_ns is None or not is_instant(created_ns):
        return []
    return [(created, f"{braced} {format_seconds(created_ns)}{stamp}", "")]


def _in_braces(labels: Sequence[str]) -> str:
    return f"{{{','.join(labels)}}}" if labels else ""


def _with_bound(labels: Sequence[str], name: str, bound: float) -> str:
    return _in_braces([*labels, f'{name}="{format_float(bound)}"'])


def _stamp(timestamp_ms: int | None) -> str:
    return "" if timestamp_ms is None else f" {format_seconds(timestamp_ms * _NS_PER_MS)}"


def _exemplar_text(exemplar: Exemplar | None, *, at_most: float = math.inf) -> str:
    """Write an exemplar with the blank before it; nothing for one that OpenMetrics cannot say."""
    if exemplar is None or not exemplar.value <= at_most or not _is_valid_label_set(exemplar.labels):
        return ""
    at_ns = exemplar.timestamp_ns
    stamp = f" {format_seconds(at_ns)}" if at_ns is not None and is_instant(at_ns) else ""
    return f" # {{{','.join(map(_pair_text, exemplar.labels))}}} {format_float(exemplar.value)}{stamp}"


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
