"""How is an exposition in text made when only some groups have changed?

The store tells the groups in sections. Of each a worker keeps what the families come to, compressed with gzip, and of
what the store finds changed that alone is read and compressed again. An exposition is then put together of these
pieces, family by family. The pieces of small families would come out larger compressed than they are: they are kept as
they are, and compressed together each time.

For scrapers that take zstd each piece has a frame beside it, made of the piece when it is first asked for. So whoever
scrapes in whichever encoding, what is stored is read once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple, Never

from pushgateway.formats import ContentEncoding, Exposition, compression, text
from pushgateway.formats.compression import Piece
from pushgateway.model import NO_STAMPS, FamilyView, Form, Known, Mark, MetricType, Section, Sections, Stamps
from pushgateway.names import PUSH_FAILURE_TIME, PUSH_FAILURE_TIME_HELP, PUSH_TIME, PUSH_TIME_HELP
from pushgateway.own_families import OWN
from pushgateway.web.exposition import OWN_NAMES, Finished, time_families, whole

__all__ = ["Packed", "Packer", "finish_sections", "pack_section"]

_LEAST_PIECE_BYTES: Final = 1 << 12
"""Of 4 KiB lines are compressed to a tenth, of 1 KiB to a fifth."""

_PIECE_BYTES: Final = 200
"""What a piece takes beside its bytes: a name, and a place in a dict."""

_PARTS_BYTES: Final = 250
_STAMP_BYTES: Final = 8
"""What parts take beside the numbers in them, and a stamp."""


class _Parts(NamedTuple):
    """Of what a family's text in a section is put together: the places of its groups, and how much is of each."""

    places: range | array[int]
    lengths: array[int]

    @classmethod
    def of(cls, places: Sequence[int], lengths: Sequence[int]) -> _Parts:
        """Take little room: most families are in all groups of a section, and few bodies have 64 KiB."""
        is_all = places[-1] == len(places) - 1
        return cls(
            range(len(places)) if is_all else array("H", places), array("H" if max(lengths) < 1 << 16 else "I", lengths)
        )

    @property
    def held_bytes(self) -> int:
        """How much memory they take, about."""
        places = 0 if isinstance(self.places, range) else self.places.itemsize
        return _PARTS_BYTES + (places + self.lengths.itemsize) * len(self.lengths)


_TIMES: Final = (
    FamilyView(PUSH_FAILURE_TIME, MetricType.GAUGE, PUSH_FAILURE_TIME_HELP, ()),
    FamilyView(PUSH_TIME, MetricType.GAUGE, PUSH_TIME_HELP, ()),
)


_NOTHING: Final[Mapping[str, Never]] = MappingProxyType({})


class Packed(NamedTuple):
    """A section as a worker keeps it.

    Attributes:
        first: As in `Section`.
        mark: As in `Section`.
        pieces: What the families come to, by name.
        plain_bytes: How much of it is not compressed.
        held_bytes: How much memory all of it takes, about, but for what is below.
        frames: The pieces that are compressed, with zstd; those that were asked for and for which there is room.
        frames_bytes: How much memory they take, about.
        stamps: As in `Section`; none where there is no room for them and parts.
        parts: For each of the pieces, or none where there is no room.
        parts_bytes: How much memory they take with the stamps, about; 0 without them.
        text_bytes: How much memory the texts of the pieces take, about; 0 where there is no room for them.
        turn: The largest is of what was read last.
    """

    first: str
    mark: Mark
    pieces: Mapping[str, Piece | bytes]
    plain_bytes: int
    held_bytes: int
    frames: Mapping[str, Piece] = _NOTHING
    frames_bytes: int = 0
    stamps: Stamps = NO_STAMPS
    parts: Mapping[str, _Parts] = _NOTHING
    parts_bytes: int = 0
    text_bytes: int = 0
    turn: int = 0

    def known(self) -> Known:
        """Return what the store is to know of it."""
        return Known(self.first, self.mark, self.stamps)

    def without_texts(self) -> Packed:
        """Return what is left of it where there is no room for texts."""
        if not self.text_bytes:
            return self
        pieces = {name: one if isinstance(one, bytes) else one._replace(text=None) for name, one in self.pieces.items()}
        return self._replace(pieces=pieces, text_bytes=0)

    def without_parts(self) -> Packed:
        """Return what is left of it where there is no room for parts, and so none for texts."""
        return self.without_texts()._replace(stamps=NO_STAMPS, parts=_NOTHING, parts_bytes=0)

    def with_frames(self) -> Packed:
        """Return it with a frame of each piece that is compressed."""
        missing = {
            name: compression.pack_one(compression.unpack(piece), "zstd")
            for name, piece in self.pieces.items()
            if isinstance(piece, Piece) and name not in self.frames
        }
        return self.framed({**self.frames, **missing}) if missing else self

    def without_frames(self) -> Packed:
        """Return what is left of it where there is no room for them."""
        return self.framed({}) if self.frames else self

    def compressed(self) -> Iterator[Piece]:
        """Yield all pieces and frames."""
        yield from (piece for piece in self.pieces.values() if isinstance(piece, Piece))
        yield from self.frames.values()

    def framed(self, frames: Mapping[str, Piece]) -> Packed:
        """Return it with these frames."""
        size = sum(_PIECE_BYTES + len(frame.data) for frame in frames.values())
        return self._replace(frames=frames, frames_bytes=size)


class Packer:
    """Packs what one scrape reads.

    Args:
        known: The sections that are kept.
        text_bytes: How much memory parts and texts may take; of either those of the sections that were read last.
    """

    def __init__(self, known: Sequence[Packed], *, text_bytes: int) -> None:
        self._known = known
        self._text_bytes = self._room = text_bytes
        self._turn = 1 + max((one.turn for one in known), default=0)

    def known(self) -> Sequence[Known]:
        """Return what the store is to know."""
        return [one.known() for one in self._known]

    def take(self, section: Section) -> Packed:
        """Pack what the store has read."""
        old = None if section.amends is None else self._known[section.amends]
        packed = pack_section(section, old, text_bytes=self._room)
        self._room -= packed.text_bytes
        return packed._replace(turn=self._turn)

    def all(self, found: Sequence[int | Packed]) -> Sequence[Packed]:
        """Return all sections, of which those that were read first have lost their texts, then their parts.

        If there are too many: parts come first, and how many there will be is not known before.
        """
        sections = [self._known[one] if isinstance(one, int) else one for one in found]
        if sum(one.parts_bytes + one.text_bytes for one in sections) > self._text_bytes:
            room = self._text_bytes
            latest = sorted(range(len(sections)), key=lambda at: -sections[at].turn)
            for at in latest:
                if sections[at].parts_bytes > room:
                    sections[at] = sections[at].without_parts()
                room -= sections[at].parts_bytes
            for at in latest:
                if sections[at].text_bytes > room:
                    sections[at] = sections[at].without_texts()
                room -= sections[at].text_bytes
        return sections


def pack_section(section: Section, old: Packed | None = None, *, text_bytes: int = 0) -> Packed:
    """Compress a section that was read.

    Args:
        section: What the store has read.
        old: What the section amends; None if all of it was read.
        text_bytes: How much memory its texts may take; if they take more they are not kept.
    """
    times = {
        view.name: list(zip(section.places, view.bodies, strict=True))
        for view in time_families(section.groups, Form.TEXT)
    }
    bodies = {**section.bodies, **times}
    same: dict[str, Piece] = {}
    if old is None:
        texts = {name: b"".join([body for _, body in found]) for name, found in bodies.items()}
        parts = {
            name: _Parts.of([place for place, _ in found], [len(body) for _, body in found])
            for name, found in bodies.items()
        }
    else:
        texts, parts, same = _amended(old, section.places, bodies)
    parts_bytes = sum(one.held_bytes for one in parts.values()) + _STAMP_BYTES * len(section.stamps.values)
    takes = sum(map(len, texts.values()))
    keep_text = takes <= text_bytes
    pieces: dict[str, Piece | bytes] = {}
    plain_bytes = held_bytes = 0
    for name, body in texts.items():
        if not body:  # of protobuf: a family without metrics, which no format shows
            continue
        if len(body) < _LEAST_PIECE_BYTES or name in OWN:
            pieces[name] = body
            plain_bytes += len(body)
            held_bytes += _PIECE_BYTES + len(body)
        else:
            piece = same.get(name) or compression.pack_one(body, "gzip")
            text_kept = body if keep_text else None
            pieces[name] = piece if piece.text is text_kept else piece._replace(text=text_kept)
            held_bytes += _PIECE_BYTES + len(piece.data)
    frames = {} if old is None else {name: frame for name, frame in old.frames.items() if name in same}
    return Packed(
        section.first,
        section.mark,
        pieces,
        plain_bytes,
        held_bytes,
        stamps=section.stamps,
        parts=parts,
        parts_bytes=parts_bytes,
        text_bytes=takes if keep_text else 0,
    ).framed(frames)


def _amended(
    old: Packed, places: Sequence[int], bodies: Mapping[str, Sequence[tuple[int, bytes]]]
) -> tuple[dict[str, bytes], dict[str, _Parts], dict[str, Piece]]:
    """Put what was read of the groups of some places into the texts of a section; families without text go.

    Returns:
        Texts and parts of all families, and the pieces of those whose text is as it was.
    """
    texts: dict[str, bytes] = {}
    parts: dict[str, _Parts] = {}
    same: dict[str, Piece] = {}
    none = dict.fromkeys(places, b"")
    for name in old.parts.keys() | bodies.keys():
        piece = old.pieces.get(name, b"")
        before = piece if isinstance(piece, bytes) else compression.unpack(piece)
        text_now = bytearray(before)
        there, lengths = map(list, old.parts.get(name, ((), ())))
        for place, body in (none | dict(bodies.get(name, ()))).items():
            at = bisect_left(there, place)
            begin = sum(lengths[:at])
            if at < len(there) and there[at] == place:
                del text_now[begin : begin + lengths[at]], there[at], lengths[at]
            if body:
                text_now[begin:begin] = body
                there.insert(at, place)
                lengths.insert(at, len(body))
        if text_now:
            parts[name] = _Parts.of(there, lengths)
            if text_now == before:
                texts[name] = before
                if isinstance(piece, Piece):
                    same[name] = piece
            else:
                texts[name] = bytes(text_now)
    return texts, parts, same


def finish_sections(
    asked: Exposition, found: Sections[Packed], sections: Sequence[Packed], *, packing: ContentEncoding
) -> Finished:
    """Make all of an exposition but the gateway's own families.

    Args:
        asked: What the scraper has asked for: text.
        found: What the store has told.
        sections: All sections, those that are as they were among them.
        packing: ``gzip``, or ``zstd`` of sections that have all frames.
    """
    keep_text = packing == "gzip" and all(one.text_bytes or not one.pieces for one in sections)
    runs: dict[int, list[FamilyView]] = {}
    beside: dict[str, FamilyView] = {}
    for view in sorted((*found.families, *_TIMES), key=lambda view: view.name):
        if view.name not in OWN:
            runs.setdefault(bisect_left(OWN_NAMES, view.name), []).append(view)
        elif bodies := [piece for piece in _pieces(view.name, sections, packing) if isinstance(piece, bytes)]:
            beside[view.name] = view._replace(bodies=[b"".join(bodies)])
    return whole(
        asked,
        {at: packed for at, run in runs.items() if (packed := _packed(run, sections, packing, keep_text))},
        beside,
        families=found.families,
        many_helps=found.many_helps,
        # Not of the contents: where sections begin, and so how they are compressed, differs between workers.
        state=f"{sum(one.mark[0] for one in sections)} {sum(one.mark[1] for one in sections)}",
    )


def _packed(
    run: Sequence[FamilyView], sections: Sequence[Packed], packing: ContentEncoding, keep_text: bool
) -> list[Piece]:
    """Return families that follow one another; what is not compressed is compressed together."""
    packed: list[Piece] = []
    pending: list[bytes] = []
    for view in run:
        headed = False
        for piece in _pieces(view.name, sections, packing):
            if not headed:
                pending.append(text.render_header(view.name, view.type, view.help))
                headed = True
            if isinstance(piece, bytes):
                pending.append(piece)
                continue
            packed += compression.pack(pending, packing, keep_text=keep_text)
            packed.append(piece)
            pending = []
    return packed + compression.pack(pending, packing, keep_text=keep_text)


def _pieces(name: str, sections: Sequence[Packed], packing: ContentEncoding) -> Iterator[Piece | bytes]:
    for section in sections:
        piece = section.pieces.get(name)
        if piece is not None:
            yield section.frames[name] if packing == "zstd" and isinstance(piece, Piece) else piece
