"""How do metrics of several registries become one body in the text format 0.0.4?"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.core import Metric

__all__ = ["collect", "merge", "render"]

logger = logging.getLogger("pymetrics_sdk")

_SUMMED = frozenset({"counter", "histogram", "summary"})
_TEXT_TYPES = {"info": "gauge", "stateset": "gauge", "unknown": "untyped", "gaugehistogram": "histogram"}
_HEADER_SUFFIXES = {"counter": "_total", "info": "_info"}
# Samples that only OpenMetrics knows. A counter's or histogram's time of creation would become a gauge of its own and
# doubles the number of families; a gateway has no use for it.
_OPENMETRICS_ONLY = ("_created", "_gsum", "_gcount")


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
        summaries is added up.
    """
    merged: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for source in (first, *others):
        for metric in source:
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

    Families without samples are left out, and so are timestamps, which no gateway takes.
    """
    lines: list[str] = []
    for metric in metrics:
        samples = [sample for sample in metric.samples if not sample.name.endswith(_OPENMETRICS_ONLY)]
        if not samples:
            continue
        name = metric.name + _HEADER_SUFFIXES.get(metric.type, "")
        documentation = metric.documentation.replace("\\", r"\\").replace("\n", r"\n")
        lines.append(f"# HELP {name} {documentation}\n# TYPE {name} {_TEXT_TYPES.get(metric.type, metric.type)}\n")
        lines.extend(f"{sample.name}{_labels(sample.labels)} {_value(sample.value)}\n" for sample in samples)
    return "".join(lines).encode("utf-8", "replace")


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
    return repr(float(value))
