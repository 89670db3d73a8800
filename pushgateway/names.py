"""Which names may metrics and labels have, and which does the gateway keep for itself?

The grammar is the legacy one of the Prometheus data model (https://prometheus.io/docs/concepts/data_model/): ASCII
letters, digits and underscores, colons in metric names only, no digit first.
"""

from __future__ import annotations

import enum
import re
from typing import Final

__all__ = [
    "LABEL_NAME_RE",
    "METRIC_NAME_RE",
    "PUSH_FAILURE_TIME",
    "PUSH_FAILURE_TIME_HELP",
    "PUSH_TIME",
    "PUSH_TIME_HELP",
    "RESERVED_PREFIX",
    "SHOWN_CHARACTERS",
    "TIME_FAMILIES",
    "Escaping",
    "is_label_name",
    "is_metric_name",
    "shown",
]

METRIC_NAME_RE: Final = "[a-zA-Z_:][a-zA-Z0-9_:]*"
"""A metric name, unanchored and without groups, to be built into larger patterns."""

LABEL_NAME_RE: Final = "[a-zA-Z_][a-zA-Z0-9_]*"
"""A label name, reserved ones included; unanchored and without groups."""

RESERVED_PREFIX: Final = "__"
"""Label names that begin so belong to Prometheus itself (``__name__``, ``__address__``)."""

PUSH_TIME: Final = "push_time_seconds"
PUSH_TIME_HELP: Final = "Last Unix time when changing this group in the Pushgateway succeeded."

PUSH_FAILURE_TIME: Final = "push_failure_time_seconds"
PUSH_FAILURE_TIME_HELP: Final = "Last Unix time when changing this group in the Pushgateway failed."

TIME_FAMILIES: Final = frozenset({PUSH_TIME, PUSH_FAILURE_TIME})
"""What is ignored in a push, since the gateway exposes it for each group."""

SHOWN_CHARACTERS: Final = 200
"""How much of a name or value messages show: they go into answers, logs and the store, and may come from anyone."""


class Escaping(enum.Enum):
    """How names beyond the legacy grammar are written for a scraper; the value is what Accept calls it.

    Source: https://prometheus.io/docs/instrumenting/escaping_schemes/
    """

    ALLOW_UTF_8 = "allow-utf-8"
    UNDERSCORES = "underscores"
    DOTS = "dots"
    VALUES = "values"


_metric_name = re.compile(METRIC_NAME_RE).fullmatch
_label_name = re.compile(LABEL_NAME_RE).fullmatch


def is_metric_name(name: str) -> bool:
    """Return whether `name` is a metric name of the legacy grammar; the empty name is not."""
    return _metric_name(name) is not None


def is_label_name(name: str) -> bool:
    """Return whether users may give a label this name: legacy grammar and no reserved prefix."""
    return _label_name(name) is not None and not name.startswith(RESERVED_PREFIX)


def shown(name: str) -> str:
    """Return a name as messages show it: cut after `SHOWN_CHARACTERS`."""
    return name if len(name) <= SHOWN_CHARACTERS else name[:SHOWN_CHARACTERS] + "..."
