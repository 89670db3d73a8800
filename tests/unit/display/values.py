"""What do tests make blocks of a group's families from?"""

from __future__ import annotations

from pushgateway.formats.protobuf import encode_metrics
from pushgateway.model import FamilyBlock, Metric, MetricFamily, MetricType

__all__ = ["SHARED", "block"]

SHARED = (("instance", ""), ("job", "etl"))
"""The labels that all series of the group have."""


def block(
    name: str, *metrics: Metric, type: MetricType = MetricType.GAUGE, help: str = "", unit: str = ""
) -> FamilyBlock:
    """Make a family as a store returns it."""
    body = encode_metrics(MetricFamily(name, type, help, metrics))
    return FamilyBlock(name, type, help, body, "", 1000.0, 1000.0, suspect=False, unit=unit)
