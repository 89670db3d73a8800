import gzip
import tracemalloc
import zlib

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.errors import LimitError, ParseError
from pushgateway.formats.compression import compress, decompress

MEMBER = gzip.compress(b"x 1\n")


def inflate(data: bytes, *, limit_bytes: int = 1 << 20) -> bytes:
    return decompress(data, "gzip", limit_bytes=limit_bytes)


@given(st.binary(max_size=2_000))
def test_compressed_answers_decompress(data: bytes) -> None:
    """What is compressed is gzip or zstd that others read, and identity changes nothing."""
    assert gzip.decompress(compress(data, "gzip")) == data
    assert bytes(cramjam.zstd.decompress(compress(data, "zstd"))) == data
    assert compress(data, "identity") is data


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_concatenated_members_are_one_body(parts: list[bytes]) -> None:
    """Gzip members one after the other are read as one body."""
    assert inflate(b"".join(map(gzip.compress, parts))) == b"".join(parts)


def test_large_bodies_cross_the_borders_of_chunks() -> None:
    """A body whose compressed form is longer than a chunk comes out whole, also when members meet inside one."""
    part = b"".join(b"%d %d\n" % (number, number * 7919 % 10007) for number in range(30_000))
    assert inflate(gzip.compress(part) + gzip.compress(part), limit_bytes=2 * len(part)) == part * 2


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
    calls = []
    decompress(MEMBER * 10, "gzip", limit_bytes=100, check=lambda: calls.append(1))
    assert len(calls) == 10

    def give_up() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        decompress(MEMBER, "gzip", limit_bytes=100, check=give_up)


@pytest.mark.parametrize("limit_bytes", [0, 1, 3])
def test_the_limit_is_exact(limit_bytes: int) -> None:
    """A body of the limit's size passes and one byte more does not, in either encoding."""
    fits, more = b"x" * limit_bytes, b"x" * (limit_bytes + 1)
    for encoding in ("gzip", "identity"):
        encoded = [compress(fits, encoding), compress(more, encoding)]
        assert decompress(encoded[0], encoding, limit_bytes=limit_bytes) == fits
        with pytest.raises(LimitError) as caught:
            decompress(encoded[1], encoding, limit_bytes=limit_bytes)
        assert (caught.value.limit, caught.value.allowed) == ("decoded-bytes", limit_bytes)


def test_the_limit_counts_all_members_together() -> None:
    """Two members that fit one by one are refused if they do not fit together."""
    with pytest.raises(LimitError):
        inflate(MEMBER + MEMBER, limit_bytes=7)


def test_a_bomb_is_refused_without_being_inflated() -> None:
    """A body that would inflate to 64 times the limit takes little more memory than the limit before it is refused."""
    layer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(layer.compress(bytes(1 << 20)) for _ in range(64)) + layer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(LimitError):
            inflate(bomb, limit_bytes=1 << 20)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 << 20
