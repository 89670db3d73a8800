"""Which group does a push go to, and how is that group written as a URL path?"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pymetrics_sdk.errors import ConfigError

__all__ = ["GroupingKey"]

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# What may stand in a path as it is. Everything else goes as base64: percent-encoding is not enough, since gateways and
# proxies decode `%2F`, clean `..` and `//`, and an empty value leaves no segment at all.
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class GroupingKey:
    """A job's name and the labels that tell its groups apart.

    Args:
        job: The job's logical name; never empty.
        labels: Sorted pairs of label name and value, without ``job`` and without empty values (which are the same as
            absent labels).
    """

    job: str
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, job: str, labels: Mapping[str, str] | None = None) -> GroupingKey:
        """Check and normalise a grouping key.

        Args:
            job: The job's name.
            labels: Further grouping labels; empty values are dropped.

        Raises:
            ConfigError: The job is empty, or a label has a name that no gateway takes.
        """
        if not job:
            raise ConfigError("job", "must not be empty")
        for name in labels or {}:
            if not _LABEL_NAME.fullmatch(name) or name.startswith("__") or name in {"job", "instance"}:
                raise ConfigError(
                    "label",
                    f"{name!r} cannot be a grouping label; expected a name like shard or region, not job or instance",
                )
        pairs = sorted((name, value) for name, value in (labels or {}).items() if value)
        return cls(job, tuple(pairs))

    def path(self) -> str:
        """Return the URL path of the group, from ``/metrics/job`` on."""
        return "/metrics/" + "/".join(_segment(name, value) for name, value in (("job", self.job), *self.labels))

    def __str__(self) -> str:
        """Return the key as PromQL would select it."""
        pairs = ",".join(f'{name}="{value}"' for name, value in (("job", self.job), *self.labels))
        return "{" + pairs + "}"


def _segment(name: str, value: str) -> str:
    if _PLAIN.fullmatch(value):
        return f"{name}/{value}"
    encoded = base64.urlsafe_b64encode(value.encode("utf-8", "replace")).decode("ascii").rstrip("=")
    return f"{name}@base64/{encoded or '='}"
