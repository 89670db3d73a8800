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
"""Of the parts and texts of sections. Parts of 100 000 groups of a usual kind take 4 MB, the text of 20 000 samples 2;
with more stored, it is those that were pushed to last."""


class _Entry(NamedTuple):
    version: Version
    finished: Finished
    held_bytes: int


class Kept:
    """Finished expositions of one version of what is stored; all threads may use it.

    Args:
        most_bytes: How much is kept of sections, and how much of expositions beside what sections hold.
        most_text_bytes: How much memory the parts and texts of sections may take beside that.
    """

    def __init__(self, *, most_bytes: int = _MOST_BYTES, most_text_bytes: int = _MOST_TEXT_BYTES) -> None:
        self._most_bytes = most_bytes
        self.most_text_bytes = most_text_bytes
        self._lock = threading.Lock()
        self.sections: Sequence[Packed] = ()
        """Those that were kept last; () if none were."""
        self._entries: dict[tuple[Exposition, ContentEncoding], _Entry] = {}

    def keep_sections(self, sections: Sequence[Packed]) -> None:
        """Keep sections, whatever comes to be stored: each tells what it is of.

        Not more than there is room for, and not so many small families that they, which are not compressed, would take
        more than a quarter of it. Frames are kept in what is left.
        """
        plain = sum(section.plain_bytes for section in sections)
        room = self._most_bytes - sum(section.held_bytes for section in sections)
        if plain > self._most_bytes // 4 or room < 0:
            self.sections = ()
            return
        kept: list[Packed] = []
        for section in sections:
            kept.append(section if section.frames_bytes <= room else section.without_frames())
            room -= kept[-1].frames_bytes
        self.sections = kept

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
        held = finished.held_bytes - self._shared_bytes(finished)
        if version is None or held > self._most_bytes:
            return
        with self._lock:
            others = {asked: one for asked, one in self._entries.items() if one.version == version}
            others.pop((finished.asked, packing), None)
            while sum(one.held_bytes for one in others.values()) + held > self._most_bytes:
                del others[next(iter(others))]
            self._entries = {**others, (finished.asked, packing): _Entry(version, finished, held)}

    def _shared_bytes(self, finished: Finished) -> int:
        """Return how much of an exposition the sections hold, too: 1 ms for 100 000 groups."""
        held = {id(piece) for section in self.sections for piece in section.compressed()}
        pieces = (piece for run in finished.runs.values() for piece in run.pieces)
        return sum(len(piece.data) + len(piece.text or b"") for piece in pieces if id(piece) in held)
