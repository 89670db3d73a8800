import contextlib
import gzip
import random
import tracemalloc
import zlib

import cramjam
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.errors import LimitError, ParseError
from pushgateway.formats import ContentEncoding
from pushgateway.formats.compression import Run, decompress, join, pack, pack_one, unpack

MEMBER = gzip.compress(b"x 1\n")
FRAME = zstd.compress(b"x 1\n", options={zstd.CompressionParameter.checksum_flag: 1})
STREAM = bytes(cramjam.snappy.compress(b"x 1\n"))
ENCODE = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "snappy": lambda data: bytes(cramjam.snappy.compress(data)),
}
ENCODINGS: tuple[ContentEncoding, ...] = ("gzip", "zstd", "snappy")
PACKINGS: tuple[ContentEncoding, ...] = ("gzip", "zstd")


def inflate(data: bytes, *, limit_bytes: int = 1 << 20) -> bytes:
    return decompress(data, "gzip", limit_bytes=limit_bytes)


@given(st.lists(st.lists(st.binary(max_size=2_000), max_size=4), max_size=4), st.booleans())
def test_compressed_answers_decompress(runs: list[list[bytes]], keep_text: bool) -> None:
    """What is packed in pieces is one gzip member, or frames of zstd, that others read; each piece comes back."""
    whole = b"".join(part for parts in runs for part in parts)
    packed = {
        packing: [[pack_one(part, packing, keep_text=keep_text) for part in parts] for parts in runs]
        for packing in PACKINGS
    }
    member = zlib.decompressobj(wbits=31)
    assert member.decompress(join(map(Run.of, packed["gzip"]), "gzip")) == whole
    assert (member.eof, member.unused_data) == (True, b"")
    frames = join(map(Run.of, packed["zstd"]), "zstd")
    assert (zstd.decompress(frames) if frames else b"") == whole
    for parts, pieces in zip(runs, packed["gzip"], strict=True):
        assert [unpack(piece) for piece in pieces] == parts


def test_a_member_of_more_than_4_gib_says_its_size_modulo_2_32() -> None:
    """The trailer has 32 bits for the size (RFC 1952, section 2.3.1)."""
    run = Run.of([pack_one(b"x", "gzip")])._replace(size_bytes=2**32 + 5)
    assert join([run], "gzip")[-4:] == (5).to_bytes(4, "little")


@pytest.mark.parametrize("packing", PACKINGS)
def test_small_parts_share_a_piece(packing: ContentEncoding) -> None:
    """Parts are put together until they are worth a piece."""
    parts = [b"a" * 100_000] * 7
    pieces = pack(parts, packing)
    assert [piece.size_bytes for piece in pieces] == [300_000, 300_000, 100_000]
    assert pack([], packing) == []


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_concatenated_members_are_one_body(encoding: ContentEncoding, parts: list[bytes]) -> None:
    """Gzip members, zstd frames and snappy streams one after the other are read as one body."""
    assert decompress(b"".join(map(ENCODE[encoding], parts)), encoding, limit_bytes=1 << 20) == b"".join(parts)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_large_bodies_cross_the_borders_of_chunks(encoding: ContentEncoding) -> None:
    """A body whose compressed form is longer than a chunk comes out whole, also when members meet inside one."""
    part = random.Random(1).randbytes(50_000) + b"".join(
        b"%d %d\n" % (number, number * 7919) for number in range(30_000)
    )
    encoded = ENCODE[encoding](part)
    # The chunk at the beginning of a second stream counts as 128 bytes.
    assert decompress(encoded + encoded, encoding, limit_bytes=2 * len(part) + 128) == part * 2
    for at in (len(encoded) - 1, len(encoded) // 2, 20, 5, 2):
        with pytest.raises(ParseError):
            decompress(encoded[:at], encoding, limit_bytes=2 * len(part))


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        (b"", "EOF", "the body is empty"),
        (b"x 1\n", "zstd: invalid header", "no zstd data"),
        (MEMBER, "zstd: invalid header", "no zstd data"),
        (FRAME[:3], "unexpected EOF", "cut short"),
        (FRAME[:-1], "unexpected EOF", "cut short"),
        (FRAME[:-4] + b"\0\0\0\0", "zstd: corrupt input", "checksum"),
        (FRAME + b"trailing garbage", "zstd: invalid header", "no zstd data"),
        (FRAME[:6] + b"\xff" * 20, "zstd: corrupt input", "Unable to decompress"),
    ],
)
def test_what_is_no_zstd_data_is_refused(data: bytes, message: str, hint: str) -> None:
    """Each kind of damage says what is wrong."""
    with pytest.raises(ParseError) as caught:
        decompress(data, "zstd", limit_bytes=1 << 20)
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_a_zstd_frame_may_not_ask_for_a_large_window() -> None:
    """What a frame has a server remember is limited to 8 MiB, and the refusal says so (RFC 9659)."""
    wide = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.enable_long_distance_matching: 1}
    with pytest.raises(ParseError) as caught:
        decompress(zstd.compress(bytes(32 << 20), options=wide), "zstd", limit_bytes=64 << 20)
    assert "8 MiB" in caught.value.hint
    assert decompress(zstd.compress(bytes(8 << 20), level=19), "zstd", limit_bytes=8 << 20) == bytes(8 << 20)


def test_skippable_frames_of_zstd_are_skipped() -> None:
    """A frame that holds no data (RFC 8878, section 3.1.2) may stand before, between and behind others."""
    nothing = b"\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"
    assert decompress(nothing + FRAME + nothing + FRAME + nothing, "zstd", limit_bytes=1 << 13) == b"x 1\nx 1\n"


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        (b"x 1\n", "snappy: corrupt input", "framing format"),
        (bytes(cramjam.snappy.compress_raw(b"x 1\n")), "snappy: corrupt input", "framing format"),
        (STREAM[:-1], "unexpected EOF", "cut short"),
        (STREAM[:12], "unexpected EOF", "cut short"),
        (STREAM[:4], "unexpected EOF", "cut short"),
        (STREAM[:-4] + b"zzzz", "snappy: corrupt input", "checksum"),
        (STREAM + b"\x02\x00\x00\x00", "snappy: unsupported input", "0x02"),
        (STREAM[:10] + b"\x00\x06\x00\x00aaaa\xff\xff", "snappy: corrupt input", "snappy"),
    ],
)
def test_what_is_no_snappy_data_is_refused(data: bytes, message: str, hint: str) -> None:
    """Each kind of damage says what is wrong; the block format, which has no frame, is one."""
    with pytest.raises(ParseError) as caught:
        decompress(data, "snappy", limit_bytes=1 << 20)
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_padding_of_snappy_is_skipped_and_nothing_is_an_empty_body() -> None:
    """Chunks without data mean nothing, and no chunks at all are an empty push, as for the original."""
    padding = b"\xfe\x02\x00\x00ab\x80\x00\x00\x00"
    assert decompress(STREAM + padding + STREAM, "snappy", limit_bytes=1 << 10) == b"x 1\nx 1\n"
    assert decompress(b"", "snappy", limit_bytes=99) == b""
    assert decompress(STREAM[:10], "snappy", limit_bytes=99) == b""


@given(st.sampled_from(ENCODINGS), st.binary(max_size=40), st.binary(max_size=8), st.integers(0, 40))
def test_damage_is_refused_or_harmless(encoding: ContentEncoding, data: bytes, other: bytes, at: int) -> None:
    """A body in which some bytes are others is refused with our own error, or read."""
    encoded = ENCODE[encoding](data)
    damaged = encoded[:at] + other + encoded[at + len(other) :]
    with contextlib.suppress(ParseError, LimitError):
        assert len(decompress(damaged, encoding, limit_bytes=1 << 20)) <= 1 << 20


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "EOF"),
        (b"x 1\n", "gzip: invalid header"),
        (b"\x1f\x8b", "unexpected EOF"),
        (b"x 1 is no gzip data\n", "gzip: invalid header"),
        (MEMBER[:9], "unexpected EOF"),
        (MEMBER[:10], "unexpected EOF"),
        (MEMBER[:-1], "unexpected EOF"),
        (MEMBER + b"trailing garbage", "gzip: invalid header"),
        (MEMBER + bytes(16), "gzip: invalid header"),
        (MEMBER + MEMBER[:5], "unexpected EOF"),
        (MEMBER[:-8] + b"\0\0\0\0" + MEMBER[-4:], "gzip: invalid checksum"),
        (MEMBER[:-4] + b"\0\0\0\0", "gzip: invalid checksum"),
        (MEMBER[:10] + b"\xff" * 20, "flate: corrupt input"),
        (b"\x1f\x8b\x07" + MEMBER[3:], "gzip: invalid header"),
        (zlib.compress(b"x 1\n" * 20), "gzip: invalid header"),
    ],
)
def test_what_is_no_gzip_data_is_refused_with_the_original_words(data: bytes, message: str) -> None:
    """Each kind of damage has the message of the original and a hint."""
    with pytest.raises(ParseError) as caught:
        inflate(data)
    assert (caught.value.message, caught.value.line) == (message, 0)
    assert caught.value.hint


def test_a_caller_can_end_the_work() -> None:
    """The check runs before every chunk and every member, and what it raises comes out."""
    for encoding, data, expected in (("gzip", MEMBER, 10), ("zstd", FRAME, 10), ("snappy", STREAM, 20)):
        calls: list[int] = []
        decompress(data * 10, encoding, limit_bytes=1 << 14, check=lambda: calls.append(1))  # type: ignore[arg-type] # noqa: B023
        assert len(calls) == expected

    def give_up() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        decompress(MEMBER, "gzip", limit_bytes=100, check=give_up)


@pytest.mark.parametrize("limit_bytes", [0, 1, 3])
def test_the_limit_is_exact(limit_bytes: int) -> None:
    """A body of the limit's size passes and one byte more does not, in any encoding."""
    fits, more = b"x" * limit_bytes, b"x" * (limit_bytes + 1)
    for encoding in (*ENCODINGS, "identity"):
        encode = ENCODE.get(encoding, bytes)
        encoded = [encode(fits), encode(more)]
        assert decompress(encoded[0], encoding, limit_bytes=limit_bytes) == fits
        with pytest.raises(LimitError) as caught:
            decompress(encoded[1], encoding, limit_bytes=limit_bytes)
        assert (caught.value.limit, caught.value.allowed) == ("decoded-bytes", limit_bytes)


def test_the_limit_counts_all_members_together() -> None:
    """Two members that fit one by one are refused if they do not fit together."""
    with pytest.raises(LimitError):
        inflate(MEMBER + MEMBER, limit_bytes=7)


@pytest.mark.parametrize(
    ("encoding", "nothing", "least_bytes"),
    [
        ("gzip", gzip.compress(b""), 1024),
        ("zstd", zstd.compress(b""), 1024),
        ("zstd", b"\x5a\x2a\x4d\x18\x00\x00\x00\x00", 1024),
        ("snappy", STREAM[:10], 128),
    ],
)
def test_a_bomb_of_nothing_is_refused(encoding: ContentEncoding, nothing: bytes, least_bytes: int) -> None:
    """Members and chunks that hold nothing cost time, and so each but the last counts as some bytes."""
    assert decompress(nothing * 11, encoding, limit_bytes=10 * least_bytes) == b""
    with pytest.raises(LimitError):
        decompress(nothing * 13, encoding, limit_bytes=10 * least_bytes)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_bomb_is_refused_without_being_inflated(encoding: ContentEncoding) -> None:
    """A body that would inflate to 64 times the limit takes little more memory than the limit before it is refused."""
    bomb = ENCODE[encoding](bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(LimitError):
            decompress(bomb, encoding, limit_bytes=1 << 20)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 << 20
