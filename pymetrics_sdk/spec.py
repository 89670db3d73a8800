"""What does a job promise about itself?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pymetrics_sdk.durations import Duration, seconds
from pymetrics_sdk.environment import split_gateway_url
from pymetrics_sdk.errors import ConfigError
from pymetrics_sdk.grouping import GroupingKey
from pymetrics_sdk.schedule import Schedule

__all__ = ["FailurePolicy", "JobSpec"]

FailurePolicy = Literal["log", "raise"]

DEFAULT_GRACE_SECONDS = 300.0
"""Grace of a job that has a schedule and names none: schedulers, image pulls and node starts take minutes."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as its author declares it, checked and in base units.

    Args:
        name: "" to take it from the environment.
        schedule: None for a job that runs on demand.
        grace_seconds: How late a scheduled start may be; None without a schedule.
        max_runtime_seconds: None for no limit.
        heartbeat_seconds: None for no heartbeats.
        gateway: URL, perhaps with a password in it; "" to take it from the environment.
        labels: Further grouping labels.
        on_push_error: None to take it from PYMETRICS_STRICT.
        timeout_seconds: Total deadline of the final push; None to take it from the environment.
        version: The application's version.
    """

    name: str = ""
    schedule: Schedule | None = None
    grace_seconds: float | None = None
    max_runtime_seconds: float | None = None
    heartbeat_seconds: float | None = None
    gateway: str = field(default="", repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    on_push_error: FailurePolicy | None = None
    timeout_seconds: float | None = None
    version: str = ""

    @classmethod
    def of(  # noqa: PLR0913 -- as Job has
        cls,
        name: str = "",
        *,
        schedule: str | None = None,
        tz: str | None = None,
        every: Duration | None = None,
        grace: Duration | None = None,
        max_runtime: Duration | None = None,
        heartbeat: Duration | None = None,
        gateway: str = "",
        labels: Mapping[str, str] | None = None,
        on_push_error: FailurePolicy | None = None,
        timeout: Duration | None = None,
        version: str = "",
    ) -> JobSpec:
        """Check what a user gave; see `Job` for the arguments.

        Raises:
            ConfigError: Something cannot be used.
        """
        if on_push_error not in {None, "log", "raise"}:
            raise ConfigError("on_push_error", f"{on_push_error!r} is neither 'log' nor 'raise'")
        plan = Schedule.of(cron=schedule, zone=tz, every=every)
        GroupingKey.of(name or "unnamed", labels)
        if gateway:
            split_gateway_url(gateway, setting="gateway")
        return cls(
            name=name,
            schedule=plan,
            grace_seconds=_optional(grace, "grace") or (DEFAULT_GRACE_SECONDS if plan else None),
            max_runtime_seconds=_optional(max_runtime, "max_runtime"),
            heartbeat_seconds=_optional(heartbeat, "heartbeat"),
            gateway=gateway,
            labels=dict(labels or {}),
            on_push_error=on_push_error,
            timeout_seconds=_optional(timeout, "timeout"),
            version=version,
        )


def _optional(value: Duration | None, setting: str) -> float | None:
    return None if value is None else seconds(value, setting=setting)
