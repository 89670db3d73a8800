"""How is an exposition in text made when only some groups have changed?

The store tells the groups in sections. Of each a worker keeps what the families come to, compressed, and of what the
store finds changed that alone is read and compressed again. An exposition is then put together of these pieces, family
by family. The pieces of small families would come out larger compressed than they are: they are kept as they are, and
compressed together each time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pushgateway.formats import ContentEncoding, Exposition, compression, text
from pushgateway.formats.compression import Member
from pushgateway.model import FamilyView, Form, Mark, MetricType, Section, Sections
from pushgateway.names import PUSH_FAILURE_TIME, PUSH_FAILURE_TIME_HELP, PUSH_TIME, PUSH_TIME_HELP
from pushgateway.own_families import OWN
from pushgateway.web.exposition import OWN_NAMES, Finished, time_families, whole

__all__ = ["Packed", "finish_sections", "pack_section"]

_LEAST_MEMBER_BYTES: Final = 1 << 12
"""Of 4 KiB lines are compressed to a tenth, of 1 KiB to a fifth."""

_PIECE_BYTES: Final = 200
"""What a piece takes beside its bytes: a name, and a place in a dict."""

_TIMES: Final = (
    FamilyView(PUSH_FAILURE_TIME, MetricType.GAUGE, PUSH_FAILURE_TIME_HELP, ()),
    FamilyView(PUSH_TIME, MetricType.GAUGE, PUSH_TIME_HELP, ()),
)


@dataclass(frozen=True, slots=True)
class Packed:
    """A section as a worker keeps it.

    Attributes:
        first: As in `Section`.
        mark: As in `Section`.
        pieces: What the families come to, by name.
        plain_bytes: How much of it is not compressed.
        held_bytes: How much memory all of it takes, about.
    """

    first: str
    mark: Mark
    pieces: Mapping[str, Member | bytes]
    plain_bytes: int
    held_bytes: int


def pack_section(section: Section, packing: ContentEncoding) -> Packed:
    """Compress a section that was read.

    Args:
        section: What the store has read.
        packing: ``gzip`` or ``zstd``.
    """
    times = {view.name: b"".join(view.bodies) for view in time_families(section.groups, Form.TEXT)}
    pieces: dict[str, Member | bytes] = {}
    plain_bytes = held_bytes = 0
    for name, body in (*section.bodies.items(), *times.items()):
        if len(body) >= _LEAST_MEMBER_BYTES and name not in OWN:
            pieces[name] = member = compression.pack_one(body, packing)
            held_bytes += _PIECE_BYTES + len(member.data)
        elif body:
            pieces[name] = body
            plain_bytes += len(body)
            held_bytes += _PIECE_BYTES + len(body)
    return Packed(section.first, section.mark, pieces, plain_bytes, held_bytes)


def finish_sections(
    asked: Exposition, found: Sections[Packed], sections: Sequence[Packed], *, packing: ContentEncoding
) -> Finished:
    """Make all of an exposition but the gateway's own families.

    Args:
        asked: What the scraper has asked for: text.
        found: What the store has told.
        sections: All sections, those that are as they were among them.
        packing: How they are packed.
    """
    runs: dict[int, list[FamilyView]] = {}
    beside: dict[str, FamilyView] = {}
    for view in sorted((*found.families, *_TIMES), key=lambda view: view.name):
        if view.name not in OWN:
            runs.setdefault(bisect_left(OWN_NAMES, view.name), []).append(view)
        elif bodies := [piece for piece in _pieces(view.name, sections) if isinstance(piece, bytes)]:
            beside[view.name] = view._replace(bodies=[b"".join(bodies)])
    return whole(
        asked,
        {at: members for at, run in runs.items() if (members := list(_members(run, sections, packing)))},
        beside,
        families=found.families,
        many_helps=found.many_helps,
        # Not of the contents: where sections begin, and so how they are compressed, differs between workers.
        state=f"{sum(one.mark[0] for one in sections)} {sum(one.mark[1] for one in sections)}",
    )


def _members(run: Sequence[FamilyView], sections: Sequence[Packed], packing: ContentEncoding) -> Iterator[Member]:
    """Yield families that follow one another; what is not compressed is compressed together."""
    pending: list[bytes] = []
    for view in run:
        headed = False
        for piece in _pieces(view.name, sections):
            if not headed:
                pending.append(text.render_header(view.name, view.type, view.help))
                headed = True
            if isinstance(piece, bytes):
                pending.append(piece)
                continue
            if pending:
                yield from compression.pack(pending, packing)
                pending = []
            yield piece
    if pending:
        yield from compression.pack(pending, packing)


def _pieces(name: str, sections: Sequence[Packed]) -> Iterator[Member | bytes]:
    for section in sections:
        piece = section.pieces.get(name)
        if piece is not None:
            yield piece
