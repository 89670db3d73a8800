"""Which stored group does the path of a page or of the API name?"""

from __future__ import annotations

from pushgateway import grouping
from pushgateway.errors import GroupingKeyError
from pushgateway.model import GroupContents, GroupingKey
from pushgateway.web.handlers import Services

__all__ = ["find_group"]


def find_group(at_hand: Services, path: str) -> tuple[GroupingKey, GroupContents | None]:
    """Return the group that a path names; None for its contents if it is not stored.

    A group that has names beyond the legacy grammar is also found where they are not allowed: it has been pushed when
    they were.

    Args:
        at_hand: The store and the settings.
        path: What stands after ``/metrics/`` in the group's push path: percent-decoded bytes, each as the latin-1
            character of the same number.

    Raises:
        GroupingKeyError: The path names no group.
        LimitError: The path is beyond a limit of keys.
        StoreUnreadableError: The store cannot be read.
    """
    named: GroupingKey | None = None
    refused: GroupingKeyError | None = None
    for utf8_names in dict.fromkeys((at_hand.config.enable_utf8_names, True)):
        try:
            key = grouping.parse(path.encode("latin-1"), limits=at_hand.config.limits, utf8_names=utf8_names)
        except GroupingKeyError as error:
            refused = refused or error
            continue
        named = named or key
        contents = at_hand.store.group(key.key)
        if contents is not None:
            return key, contents
    if named is None or refused is not None:
        raise refused or GroupingKeyError("")
    return named, None
