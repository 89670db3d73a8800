"""What does a request's WSGI environment hold beside what PEP 3333 says?

    pushgateway.begun       when the request was complete, on the clock of `time.monotonic`; from the bridge
    pushgateway.ticket      its place in the queue of writers, None for none; from the bridge
    pushgateway.room_bytes  how large its decompressed body may be here; from the bridge
    pushgateway.scratch     a dict that survives a second call of the same request; from the bridge
    pushgateway.flushes     set if the bridge flushes the store for this request; from the bridge
    pushgateway.path        PATH_INFO without the route prefix; from the routing
    pushgateway.raised      what was raised where Flask's dispatch was left out, for the view to raise again
    pushgateway.refusal     what the client is about to be told is wrong; from the error handlers

Of what the bridge sets, a plain WSGI server sets nothing.
"""

from __future__ import annotations

import time
from typing import Final, TypeAlias, cast

from pushgateway import grouping
from pushgateway.config import Config
from pushgateway.model import GroupingKey

__all__ = [
    "DELETES",
    "LONG_CHANGES",
    "PUSHES",
    "RAISED",
    "WIPES",
    "Environ",
    "GroupingKeys",
    "grouping_key",
    "seconds_since_begin",
]

Environ: TypeAlias = dict[str, object]

RAISED: Final = "pushgateway.raised"

PUSHES: Final = "/metrics/"
"""What the paths of all groups begin with."""

WIPES: Final = ("/api/v1/admin/wipe", "/status/wipe")
"""Where everything is deleted: for programs, and for the form of the status page."""

DELETES: Final = "/groups/delete"
"""Where the form of the page of groups deletes those that were chosen."""

LONG_CHANGES: Final = (*WIPES, DELETES)
"""What may take long, however small the request."""


_KEPT_PATHS: Final = 2000
_KEPT_PATH: Final = 256
"""Of how many paths, and how long ones, the groups are kept: 2 MB at most, of usual paths 1 MB."""


def seconds_since_begin(environ: Environ) -> float:
    """Return how long ago the request was complete; without a bridge that is when this was first asked."""
    now = time.monotonic()
    return now - cast(float, environ.setdefault("pushgateway.begun", now))


class GroupingKeys(dict[str, GroupingKey]):
    """The groups of paths, as `grouping_key` has them, each read once: jobs come back. 15 us in place of 0.1.

    Args:
        config: The settings.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._config = config

    def __missing__(self, path: str) -> GroupingKey:
        key = grouping_key(path, self._config)
        if len(path) <= _KEPT_PATH:
            if len(self) >= _KEPT_PATHS:
                self.clear()
            self[path] = key
        return key


def grouping_key(path: str, config: Config) -> GroupingKey:
    """Return the group that a path names.

    Args:
        path: As in `pushgateway.path`: percent-decoded bytes, each as the latin-1 character of the same number.
        config: The settings.

    Raises:
        RequestError: As `grouping.parse` does.
    """
    return grouping.parse(
        path.removeprefix(PUSHES).encode("latin-1"), limits=config.limits, utf8_names=config.enable_utf8_names
    )
