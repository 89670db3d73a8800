"""Which expositions are kept until something is stored?

Each worker keeps its own, compressed. Shared memory for all workers was rejected: versions of SQLite's are a
connection's own, and what is kept is a twentieth of what is exposed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final, NamedTuple

from pushgateway.formats import ContentEncoding, Exposition
from pushgateway.storage.base import Version
from pushgateway.web.exposition import Finished
from pushgateway.web.sections import Packed

__all__ = ["Kept"]

_MOST_BYTES: Final = 16 << 20
"""Compressed. 200 000 samples of a usual kind take 1 MB in text; a scraper that asks for two formats has both kept."""


_MOST_TEXT_BYTES: Final = 4 << 20
"""Of sections. 20 000 samples of a usual kind take 2 MB; with more stored, it is those that were pushed to last."""


class _Entry(NamedTuple):
    version: Version
    finished: Finished


class Kept:
    """Finished expositions of one version of what is stored; all threads may use it.

    Args:
        most_bytes: How much is kept of expositions, and of sections; what both hold is there once.
        most_text_bytes: How much memory the texts of sections may take beside that.
    """

    def __init__(self, *, most_bytes: int = _MOST_BYTES, most_text_bytes: int = _MOST_TEXT_BYTES) -> None:
        self._most_bytes = most_bytes
        self.most_text_bytes = most_text_bytes
        self._lock = threading.Lock()
        self._sections: dict[ContentEncoding, Sequence[Packed]] = {}
        self._entries: dict[tuple[Exposition, ContentEncoding], _Entry] = {}

    def sections(self, packing: ContentEncoding) -> Sequence[Packed]:
        """Return the sections that were kept last; () if none were."""
        return self._sections.get(packing, ())

    def keep_sections(self, sections: Sequence[Packed], packing: ContentEncoding) -> None:
        """Keep sections, whatever comes to be stored: each tells what it is of.

        Not more than there is room for, and not so many small families that they, which are not compressed, would take
        more than a quarter of it.
        """
        plain = sum(section.plain_bytes for section in sections)
        held = sum(section.held_bytes for section in sections)
        self._sections = {packing: sections} if plain <= self._most_bytes // 4 and held <= self._most_bytes else {}

    def find(self, asked: Exposition, packing: ContentEncoding, version: Version | None) -> Finished | None:
        """Return what was made of this version; None if nothing was, or nobody knows the version."""
        entry = self._entries.get((asked, packing))
        return entry.finished if entry is not None and entry.version == version else None

    def keep(self, finished: Finished, packing: ContentEncoding, version: Version | None) -> None:
        """Keep an exposition for as long as the version stays; what there is of another version goes.

        Args:
            finished: The exposition.
            packing: How it is packed.
            version: The version of the store before it was read; None keeps nothing.
        """
        if version is None or finished.held_bytes > self._most_bytes:
            return
        with self._lock:
            others = {asked: one for asked, one in self._entries.items() if one.version == version}
            others.pop((finished.asked, packing), None)
            while sum(one.finished.held_bytes for one in others.values()) + finished.held_bytes > self._most_bytes:
                del others[next(iter(others))]
            self._entries = {**others, (finished.asked, packing): _Entry(version, finished)}
