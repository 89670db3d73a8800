"""How do metrics of several registries become one body in the text format 0.0.4?"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.core import Metric

from pymetrics_sdk.telemetry import count_internal_error

__all__ = ["collect", "merge", "render"]

logger = logging.getLogger("pymetrics_sdk")

_SUMMED = frozenset({"counter", "histogram", "summary"})
_TEXT_TYPES = {"info": "gauge", "stateset": "gauge", "unknown": "untyped", "gaugehistogram": "histogram"}
_HEADER_SUFFIXES = {"counter": "_total", "info": "_info"}
# Samples that only OpenMetrics knows, by the types that have them. A counter's or histogram's time of creation would
# become a gauge of its own and doubles the number of families; a gateway has no use for it.
_OPENMETRICS_ONLY = {
    "counter": ("_created",),
    "histogram": ("_created",),
    "summary": ("_created",),
    "gaugehistogram": ("_created", "_gsum", "_gcount"),
}
# What else a family of such a type takes up: a gauge of one of these names would be a second family of the same name.
_MORE_NAMES = {
    "histogram": ("_bucket", "_count", "_sum"),
    "gaugehistogram": ("_bucket", "_count", "_sum"),
    "summary": ("_count", "_sum"),
}
_NOT_IN_METRIC_NAME = re.compile(r"[^a-zA-Z0-9_:]")
_NOT_IN_LABEL_NAME = re.compile(r"[^a-zA-Z0-9_]")


def collect(registry: Any, *, on_error: Callable[[], None]) -> Iterator[Metric]:
    """Yield what the collectors of a registry have, leaving out the ones that fail.

    Args:
        registry: A prometheus_client CollectorRegistry.
        on_error: Called for each collector that raised; the others are still collected.
    """
    for collector in list(getattr(registry, "_collector_to_names", {})):
        try:
            metrics = list(collector.collect())
        except Exception:
            logger.warning("the collector %s failed and is left out", type(collector).__name__, exc_info=True)
            on_error()
            continue
        yield from metrics


def merge(first: Iterable[Metric], *others: Iterable[Metric], add_all: bool = False) -> list[Metric]:
    """Make one family of those that share a name.

    Args:
        first: The families that win where numbers cannot be added: of gauges, and of families of another type.
        others: Further families.
        add_all: Whether gauges are added too.

    Returns:
        New Metric objects, each name once, in order of first appearance. The same series of counters, histograms and
        summaries is added up. A family that cannot be exposed is left out, and counted as an internal error.
    """
    merged: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for source in (first, *others):
        for metric in _clean_ones(source):
            known = merged.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            if known.type != metric.type:
                logger.warning(
                    "metric %s is a %s and a %s: the %s is left out", metric.name, known.type, metric.type, metric.type
                )
                continue
            series = values.setdefault(metric.name, {})
            for sample in metric.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                if key in series and (add_all or metric.type in _SUMMED):
                    series[key] += sample.value
                else:
                    series.setdefault(key, sample.value)
    for name, series in values.items():
        for (sample_name, labels), value in series.items():
            merged[name].add_sample(sample_name, dict(labels), value)
    return list(merged.values())


def render(metrics: Iterable[Metric]) -> bytes:
    """Return families as a body in the text format 0.0.4.

    Families without samples are left out, and so are timestamps, which no gateway takes. A family whose name an earlier
    one has is left out too, with a warning: a gateway refuses the whole body for a name that comes twice, so the
    families that matter most go first. Characters that the format does not allow in names become underscores.
    """
    lines: list[str] = []
    taken: dict[str, str] = {}
    for metric in _clean_ones(metrics):
        samples = [sample for sample in metric.samples if not _is_openmetrics_only(metric, sample.name)]
        if not samples:
            continue
        name = metric.name + _HEADER_SUFFIXES.get(metric.type, "")
        names = [name, *(metric.name + suffix for suffix in _MORE_NAMES.get(metric.type, ()))]
        rival = next((taken[each] for each in names if each in taken), None)
        if rival is not None:
            logger.warning("metric %s is left out of the push: its name is taken by %s", name, rival)
            continue
        taken.update(dict.fromkeys(names, name))
        documentation = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
        lines.append(f"# HELP {name} {documentation}\n# TYPE {name} {_TEXT_TYPES.get(metric.type, metric.type)}\n")
        lines.extend(f"{sample.name}{_labels(sample.labels)} {_value(sample.value)}\n" for sample in samples)
    return "".join(lines).encode("utf-8", "replace")


def _clean_ones(metrics: Iterable[Metric]) -> Iterator[Metric]:
    """Yield what can be exposed; one broken collector of the job must not cost it the whole push."""
    for metric in metrics:
        try:
            yield _clean(metric)
        except Exception:
            count_internal_error(f"exposing the metric {getattr(metric, 'name', metric)!r:.200}, which is left out")


def _clean(metric: Metric) -> Metric:
    """Return a family with names that the text format has, label values that are text, and values that are numbers."""
    clean = Metric(_escape_name(metric.name), str(metric.documentation), metric.type)
    for sample in metric.samples:
        labels = {_escape_name(name, label=True): str(value) for name, value in (sample.labels or {}).items()}
        if len(labels) != len(sample.labels or {}):
            raise ValueError("two of its label names are the same once they are escaped")
        clean.add_sample(_escape_name(sample.name), labels, float(sample.value))
    return clean


def _escape_name(name: str, *, label: bool = False) -> str:
    escaped = (_NOT_IN_LABEL_NAME if label else _NOT_IN_METRIC_NAME).sub("_", name)
    return f"_{escaped}" if not escaped or escaped[0].isdigit() else escaped


def _is_openmetrics_only(metric: Metric, sample_name: str) -> bool:
    return any(sample_name == metric.name + suffix for suffix in _OPENMETRICS_ONLY.get(metric.type, ()))


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _value(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
