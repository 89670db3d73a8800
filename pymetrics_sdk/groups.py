"""What does a gateway hold of our group already?

The API has one list of all groups with all their samples, which on a busy gateway is some hundred megabytes. So it is
read piece by piece, each group is dropped once it was looked at, and reading ends at the group that is wanted.
"""

from __future__ import annotations

import codecs
import json
import logging
import re
from collections.abc import Collection, Mapping
from typing import Any

from pymetrics_sdk.errors import PymetricsError
from pymetrics_sdk.grouping import GroupingKey
from pymetrics_sdk.push import Client
from pymetrics_sdk.transport import Deadline

__all__ = ["GroupSearch", "find_group"]

logger = logging.getLogger("pymetrics_sdk")

MAX_LIST_BYTES = 64 * 1024 * 1024
"""How much of the list is read. At some 100 MB a second of decoding it costs the job less than a second of a core."""
MAX_GROUP_CHARACTERS = 16 * 1024 * 1024
"""The largest group that is looked at: it has to be in memory as a whole."""

_HEAD = re.compile(r'\s*\{\s*(?:"status"\s*:\s*"success"\s*,\s*)?"data"\s*:\s*(?:\[|(null))')
_MAX_HEAD_CHARACTERS = 256
_BETWEEN = re.compile(r"[\s,]*")
_decoder = json.JSONDecoder()


class GroupSearch:
    """Looks for one group in the answer of ``/api/v1/metrics`` while it arrives.

    Args:
        labels: The group's grouping key, with ``job``.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self.found: Mapping[str, Any] | None = None
        self.complete = False
        """Whether the group was found, or the list came to its end without it."""
        self._wanted = dict(labels)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._text = ""
        self._in_list = False
        self._try_at = 0
        self._taken_bytes = 0

    def take(self, piece: bytes) -> bool:
        """Take the next piece of the answer; return whether another one is wanted."""
        self._taken_bytes += len(piece)
        self._text += self._decode(piece)
        if not self._in_list and not self._enter():
            return len(self._text) < _MAX_HEAD_CHARACTERS and not self.complete
        if len(self._text) >= self._try_at:
            self._look()
        within = self._taken_bytes < MAX_LIST_BYTES and len(self._text) < MAX_GROUP_CHARACTERS
        return within and not self.complete

    def end(self) -> None:
        """Look at what has come since the last look; to be called after the last piece."""
        if self._in_list and not self.complete:
            self._look()

    def _enter(self) -> bool:
        head = _HEAD.match(self._text)
        if head is None:
            return False
        if head[1]:
            self.complete = True  # null: a gateway without groups
            return False
        self._text = self._text[head.end() :]
        self._in_list = True
        return True

    def _look(self) -> None:
        """Look at all groups that have arrived as a whole."""
        position = 0
        while True:
            between = _BETWEEN.match(self._text, position)
            position = between.end() if between else position
            if self._text.startswith("]", position):
                self.complete = True
                return
            try:
                group, position = _decoder.raw_decode(self._text, position)
            except ValueError:
                self._text = self._text[position:]
                # Not at every piece: the beginning of a large group would be decoded again and again.
                self._try_at = 2 * len(self._text)
                return
            if isinstance(group, dict) and group.get("labels") == self._wanted:
                self.found = group
                self.complete = True
                return


def find_group(client: Client, key: GroupingKey, *, deadline: Deadline) -> Collection[str] | None:
    """Ask the gateway which families a group has.

    Args:
        client: For the gateway.
        key: The group.
        deadline: By when to give up.

    Returns:
        The names of its families, none if there is no such group; None in doubt.
    """
    search = GroupSearch({"job": key.job, **dict(key.labels)})
    try:
        response = client.get("/api/v1/metrics", deadline=deadline, max_body_bytes=0, take=search.take)
    except PymetricsError as error:
        logger.debug("the groups of the gateway cannot be read: %s", error)
        return None
    search.end()
    if response.status != 200 or not search.complete:
        logger.debug(
            "the gateway's groups (status %d) were not read up to %s: what it has is not known", response.status, key
        )
        return None
    return (search.found or {}).keys()
