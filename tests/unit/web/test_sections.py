"""What a worker keeps of sections, and how what has changed comes into it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.formats.compression import Piece, decompress, unpack
from pushgateway.model import NO_STAMPS, Group, Known, Section, Stamps
from pushgateway.web import sections
from pushgateway.web.sections import Packed, Packer, pack_section

PLENTY = 1 << 20

Families = Mapping[str, bytes]
"""The bodies of one group by the names of families."""


def group(place: int, at: float) -> Group:
    return Group(f'[["job","{place}"]]', b'{instance="",job="%d"}' % place, at, 0.0, "", legacy=True)


def section(contents: Sequence[tuple[Families, int]], *, old: Sequence[tuple[Families, int]] | None = None) -> Section:
    """Make a section of what its groups hold and when they were pushed; or one that tells what differs from `old`."""
    groups = [group(place, at) for place, (_, at) in enumerate(contents)]
    places = [place for place, one in enumerate(contents) if old is None or old[place] != one]
    bodies: dict[str, list[tuple[int, bytes]]] = {}
    for place in places:
        for name, body in contents[place][0].items():
            bodies.setdefault(name, []).append((place, body))
    stamps = Stamps.of({one.key: at for one, (_, at) in zip(groups, contents, strict=True)})
    amends = None if old is None else 0
    return Section("", (len(groups), 1), stamps, [groups[place] for place in places], places, bodies, amends)


def texts(packed: Packed) -> dict[str, bytes]:
    return {name: one if isinstance(one, bytes) else unpack(one) for name, one in packed.pieces.items()}


BODIES = st.dictionaries(st.sampled_from(["a", "b", "process_open_fds"]), st.sampled_from([b"a 1\n", b"bb 2\n" * 9]))
CONTENTS = st.tuples(BODIES, st.integers(1, 3))


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(CONTENTS, min_size=n, max_size=n), min_size=1)))
def test_what_is_amended_is_what_would_be_read(states: list[list[tuple[Families, int]]]) -> None:
    """Whatever groups change, lose or get, what was kept with what was read is what all of it comes to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "_LEAST_PIECE_BYTES", 40)
        packed = pack_section(section(states[0]), text_bytes=PLENTY)
        for old, new in itertools.pairwise(states):
            whole = pack_section(section(new), text_bytes=PLENTY)
            inflated = pack_section(section(new, old=old), packed.without_texts(), text_bytes=PLENTY)
            packed = pack_section(section(new, old=old), packed, text_bytes=PLENTY)
            assert packed == inflated == whole
            assert texts(packed.without_texts()) == texts(whole)


def test_what_has_not_changed_is_not_compressed_again() -> None:
    """A family that is the same after a push keeps its piece."""
    before = [({"x": b"x 1\n" * 2000, "y": b"y 1\n" * 2000}, 1)] * 2
    after = [before[0], ({"x": b"x 1\n" * 2000, "y": b"y 2\n"}, 2)]
    old = pack_section(section(before), text_bytes=PLENTY)
    new = pack_section(section(after, old=before), old, text_bytes=PLENTY)
    assert new.pieces["x"] is old.pieces["x"]
    assert texts(new)["y"] == b"y 1\n" * 2000 + b"y 2\n"


def test_frames_are_made_once() -> None:
    """Each compressed piece gets a frame of zstd, which stays while the piece does, and no small one gets any."""
    before = [({"x": b"x 1\n" * 2000, "y": b"y 1\n" * 2000, "z": b"z 1\n"}, 1)] * 2
    after = [before[0], ({"x": b"x 1\n" * 2000, "y": b"y 2\n", "z": b"z 1\n"}, 2)]
    bare = pack_section(section(before), text_bytes=PLENTY)
    assert (bare.frames, bare.frames_bytes, bare.without_frames()) == ({}, 0, bare)
    old = bare.with_frames()
    assert old.with_frames() is old
    assert old.without_frames() == bare
    assert sorted(old.frames) == ["x", "y"]
    assert sum(len(one.data) for one in old.frames.values()) < old.frames_bytes < 600
    new = pack_section(section(after, old=before), old, text_bytes=PLENTY)
    assert (sorted(new.frames), new.frames["x"]) == (["x"], old.frames["x"])
    assert decompress(new.with_frames().frames["y"].data, "zstd", limit_bytes=PLENTY) == texts(new)["y"]
    assert [*old.compressed()] == [*bare.compressed(), *old.frames.values()]


def test_texts_are_kept_within_their_room() -> None:
    """Without texts what has changed is still put into what was, without parts the store is told no stamps."""
    whole = section([({"x": b"x 1\n" * 2000}, 1)])
    kept = pack_section(whole, text_bytes=PLENTY)
    piece = kept.pieces["x"]
    assert isinstance(piece, Piece)
    assert (piece.text, kept.known().stamps) == (b"x 1\n" * 2000, whole.stamps)
    assert kept.text_bytes > 8000
    assert 0 < kept.parts_bytes < 1000
    assert pack_section(whole, text_bytes=kept.text_bytes) == kept
    partly = pack_section(whole, text_bytes=kept.text_bytes - 1)
    assert partly == kept.without_texts()
    assert (partly.text_bytes, partly.parts_bytes, partly.known()) == (0, kept.parts_bytes, kept.known())
    bare = kept.without_parts()
    assert bare == partly.without_parts()
    assert (bare.text_bytes, bare.parts_bytes, bare.known()) == (0, 0, Known("", (1, 1), NO_STAMPS))
    assert bare.held_bytes == kept.held_bytes
    for one in (partly, bare):
        assert texts(one) == texts(kept)
        assert not [each for each in one.pieces.values() if isinstance(each, Piece) and each.text is not None]


def test_texts_of_what_was_read_last_are_kept() -> None:
    """What a scrape reads has the first claim on the room, then what the scrapes before it have read."""
    whole = section([({"x": b"x 1\n" * 2000}, 1)])
    one = pack_section(whole, text_bytes=PLENTY)
    known = [one._replace(turn=turn) for turn in (3, 1, 2)]
    packer = Packer(known, text_bytes=4 * one.parts_bytes + 3 * one.text_bytes)
    fresh = packer.take(whole)
    assert fresh == one._replace(turn=4)
    found = packer.all([0, 1, 2, fresh])
    assert [bool(each.text_bytes) for each in found] == [True, False, True, True]
    assert all(each.parts_bytes for each in found)
    few = Packer(known, text_bytes=3 * one.parts_bytes)
    found = few.all([0, 1, 2, few.take(whole)])
    assert [bool(each.text_bytes) for each in found] == [False] * 4
    assert [bool(each.parts_bytes) for each in found] == [True, False, True, True]
    full = Packer(known, text_bytes=4 * one.parts_bytes + 2 * one.text_bytes)
    read = [full.take(whole) for _ in range(3)]
    assert [bool(each.text_bytes) for each in read] == [True, True, False]
    assert all(each.parts_bytes for each in read)
    assert [bool(each.text_bytes) for each in full.all([0, *read])] == [False, True, True, False]
