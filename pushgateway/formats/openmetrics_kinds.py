"""Which types of family does OpenMetrics know, what are their samples named, and what do they become here?

Source: OpenMetrics 1.0, "Suffixes" and "Metric types". The gateway's own types are those of protobuf and text 0.0.4, in
which a counter's name ends in _total if its samples' do, and infos and state sets are gauges.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple

from pushgateway.model import MetricType

__all__ = ["KINDS", "Kind", "Part"]


class Part(enum.Enum):
    """What a sample says of its metric."""

    VALUE = "value"
    STATE = "state"
    INFO = "info"
    TOTAL = "total"
    CREATED = "created"
    BUCKET = "bucket"
    QUANTILE = "quantile"
    SUM = "sum"
    COUNT = "count"


class Kind(NamedTuple):
    """A type of OpenMetrics.

    Attributes:
        word: What TYPE lines call it.
        type: What a family of it becomes.
        parts: For each suffix that its samples' names may have, what such a sample says.
        stored_suffix: What the family's name gets.
        bound_label: The label that says which bucket or quantile a sample is, "" for none. That of a state set is named
            like the family.
        has_unit: Whether a UNIT line may describe it.
    """

    word: str
    type: MetricType
    parts: Mapping[str, Part]
    stored_suffix: str = ""
    bound_label: str = ""
    has_unit: bool = True

    def names(self, family: str) -> list[str]:
        """Return the names that no other family may have beside one of this kind: its own, and those of its samples."""
        return [family, *(family + suffix for suffix in self.parts if suffix)]


_BUCKETS: Final = {"_bucket": Part.BUCKET, "_sum": Part.SUM, "_count": Part.COUNT, "_created": Part.CREATED}
_QUANTILES: Final = {"": Part.QUANTILE, "_sum": Part.SUM, "_count": Part.COUNT, "_created": Part.CREATED}
_GAUGE_BUCKETS: Final = {"_bucket": Part.BUCKET, "_gsum": Part.SUM, "_gcount": Part.COUNT}

KINDS: Final = {
    kind.word: kind
    for kind in (
        Kind("counter", MetricType.COUNTER, {"_total": Part.TOTAL, "_created": Part.CREATED}, stored_suffix="_total"),
        Kind("gauge", MetricType.GAUGE, {"": Part.VALUE}),
        Kind("unknown", MetricType.UNTYPED, {"": Part.VALUE}),
        Kind("info", MetricType.GAUGE, {"_info": Part.INFO}, stored_suffix="_info", has_unit=False),
        Kind("stateset", MetricType.GAUGE, {"": Part.STATE}, has_unit=False),
        Kind("summary", MetricType.SUMMARY, _QUANTILES, bound_label="quantile"),
        Kind("histogram", MetricType.HISTOGRAM, _BUCKETS, bound_label="le"),
        Kind("gaugehistogram", MetricType.GAUGE_HISTOGRAM, _GAUGE_BUCKETS, bound_label="le"),
    )
}
"""The types by their words."""
