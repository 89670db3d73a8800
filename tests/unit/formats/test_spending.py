"""Is a push that would take too much memory refused before it does, whatever it takes it with?"""

from __future__ import annotations

import pytest

from pushgateway.errors import LimitError
from pushgateway.formats import openmetrics, protobuf, text
from pushgateway.limits import Limits

LIMITS = Limits(prepared_bytes=1_000_000)


@pytest.mark.parametrize(
    ("line", "fits", "too_many"),
    [
        ("x 1\n", 1800, 2000),
        ("x{a='b'} 1\n".replace("'", '"'), 1400, 1600),
        ("x{" + ",".join(f'l{at}="{at}"' for at in range(100)) + "} 1\n", 45, 60),
        ('x{a="' + "v" * 10_000 + '"} 1\n', 18, 22),
        ('x{a="' + "v" * 10_000 + '\u00e9"} 1\n', 7, 9),
        ("# a comment\n", 10_000, 30_000),
    ],
)
def test_each_part_of_a_text_counts(line: str, fits: int, too_many: int) -> None:
    """Samples, labels, and bytes of text count, wide ones more than others."""
    text.parse(line.encode() * fits, limits=LIMITS)
    with pytest.raises(LimitError) as caught:
        text.parse(line.encode() * too_many, limits=LIMITS)
    assert (caught.value.limit, caught.value.allowed) == ("prepared-bytes", 1_000_000)
    assert caught.value.seen is not None


def test_families_count() -> None:
    """A family counts beside its samples, also one that has none."""
    families = [f"# HELP f{number} h\n".encode() for number in range(2000)]
    text.parse(b"".join(families[:1000]), limits=LIMITS)
    with pytest.raises(LimitError, match="prepared-bytes"):
        text.parse(b"".join(families), limits=LIMITS)


@pytest.mark.parametrize(
    ("line", "fits", "too_many"),
    [
        ("x{n='%d'} 1", 1200, 1700),
        ("x{n='%d'," + ",".join(f"l{at}='{at}'" for at in range(100)) + "} 1", 40, 60),
        ("x{n='%d',a='" + "v" * 10_000 + "'} 1", 17, 22),
        ("x{n='%d',a='" + "v" * 10_000 + "\u00e9'} 1", 7, 9),
    ],
)
def test_each_part_of_a_protobuf_body_counts(line: str, fits: int, too_many: int) -> None:
    """The same holds for the other format, to about the same extent."""

    def body(many: int) -> bytes:
        lines = "".join(f"{line % number}\n" for number in range(many)).replace("'", '"')
        (family,) = text.parse(lines.encode())
        bodies = [protobuf.encode_metrics(family)]
        return protobuf.render_family(family.name, family.type, "", unit="", bodies=bodies)

    protobuf.parse(body(fits), limits=LIMITS)
    with pytest.raises(LimitError, match="prepared-bytes"):
        protobuf.parse(body(too_many), limits=LIMITS)


@pytest.mark.parametrize(
    ("line", "fits", "too_many"),
    [
        ("x_total{n='%d'} 1", 1100, 1700),
        ("x_total{n='%d',a='" + "v" * 10_000 + "'} 1", 17, 22),
        ("x_total{n='%d',a='" + "v" * 10_000 + "\u00e9'} 1", 7, 9),
        ("x_total{n='%d'} 1 # {} 1", 700, 900),
        ("# HELP x%d h", 1000, 2000),
    ],
)
def test_each_part_of_an_openmetrics_body_counts(line: str, fits: int, too_many: int) -> None:
    """Samples, labels, exemplars, families and bytes of text count."""

    def body(many: int) -> bytes:
        lines = "".join(f"{line % number}\n" for number in range(many)).replace("'", '"')
        return f"# TYPE x counter\n{lines}# EOF\n".encode()

    openmetrics.parse(body(fits), limits=LIMITS)
    with pytest.raises(LimitError, match="prepared-bytes"):
        openmetrics.parse(body(too_many), limits=LIMITS)
