"""What does a function promise, and how do its metrics say so?"""

from __future__ import annotations

from dataclasses import dataclass

from pymetrics_sdk.durations import Duration, seconds
from pymetrics_sdk.errors import ConfigError
from pymetrics_sdk.metrics import DEFAULT_BUCKETS

__all__ = ["SLO"]


@dataclass(frozen=True, slots=True)
class SLO:
    """A service level objective, carried by a function's metrics as labels, as autometrics' specification names them.

    Args:
        success: Percentage of calls that should succeed, as 99.9; None for no such objective.
        latency: A duration and the percentage of calls that should take no longer, as ``("250ms", 99)``. The duration
            must be one of the histogram's bucket bounds, or no query could count the calls within it.
        name: The objective's name; default: the function's.

    Raises:
        ConfigError: A percentage outside 0 to 100, or a latency between two bounds.
    """

    success: float | None = None
    latency: tuple[Duration, float] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        for percentage in (self.success, self.latency[1] if self.latency else None):
            if percentage is not None and not 0 < percentage < 100:
                raise ConfigError("slo", f"{percentage} is no percentage between 0 and 100")
        if self.latency and seconds(self.latency[0], setting="slo latency") not in DEFAULT_BUCKETS:
            raise ConfigError("slo latency", f"{self.latency[0]!r} must be one of {DEFAULT_BUCKETS} seconds")

    def counter_labels(self, function: str) -> tuple[str, str]:
        """Return objective_name and objective_percentile of the counter of calls."""
        return (self.name or function, f"{self.success:g}") if self.success is not None else ("", "")

    def histogram_labels(self, function: str) -> tuple[str, str, str]:
        """Return objective_name, objective_percentile and objective_latency_threshold (seconds) of the durations."""
        if self.latency is None:
            return "", "", ""
        threshold = seconds(self.latency[0], setting="slo latency")
        return self.name or function, f"{self.latency[1]:g}", f"{threshold:g}"
