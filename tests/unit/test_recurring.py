"""Is a push whose shape is known the same as one that is parsed and prepared from the beginning?"""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushgateway import own_families
from pushgateway.errors import PushgatewayError
from pushgateway.formats import text
from pushgateway.limits import Limits
from pushgateway.model import GroupingKey, Push
from pushgateway.preparation import prepare_push
from pushgateway.recurring import Recurring
from tests.unit.formats.format_strategies import family_lists

BODY = b"""# HELP rows_total Rows of each table, in %, {"like this"}
# TYPE rows_total counter
rows_total{table="b%s"} 1
rows_total{table="a"} 2.5e9
lines{of="\x1e, \x0b, \xe2\x80\xa8 5"} 12
# just a comment
free 3
# TYPE took_seconds histogram
took_seconds_bucket{le="1"} 4
took_seconds_bucket{le="+Inf"} 5
took_seconds_sum 6.25
took_seconds_count 5
# TYPE size summary
size{quantile="0.5"} 8
size_sum 9
size_count 10
push_time_seconds 11
"""
KEY = GroupingKey.of({"job": "a"})
NUMBERS = ["0", "-0", "17", "+1", ".5", "5.", "1e3", "1E-7", "12345678", "1.5e22", "-3.25", "+Inf", "-Inf", "NaN"]


def prepared(body: bytes, key: GroupingKey) -> Push:
    """Prepare a push the long way."""
    families = text.parse(body)
    own = own_families.TYPES
    return prepare_push(families, key, replace=True, received_at_seconds=1.5, rendered_bytes=10**6, own=own)


def repeated(body: bytes, key: GroupingKey, recurring: Recurring | None = None) -> Push | None:
    """Prepare a push whose shape has been seen before, if it can be learnt."""
    recurring = recurring or Recurring(limits=Limits(), own=own_families.TYPES)
    for _ in range(2):
        push = recurring.prepare(body, key, replace=True, received_at_seconds=1.5)
    return push


def with_numbers(body: bytes, numbers: random.Random) -> bytes:
    """Give each line of a body another number."""
    return re.sub(rb"(?m)^([^#\n].*) \S+$", lambda line: b"%b %b" % (line[1], numbers.choice(NUMBERS).encode()), body)


@pytest.mark.parametrize(
    "labels",
    [
        {"job": "a"},
        {"job": 'b%s"\\\n', "instance": "é\x02"},
        {"job": "%", "table": "taken", "zone": "1"},
        {"a": "\x010\x02", "job": "a"},
    ],
)
def test_the_same_as_the_long_way(labels: dict[str, str]) -> None:
    """Labels, order, both forms, hashes, counts of samples: all is the same, for any values of the group's labels."""
    key = GroupingKey.of(labels)
    body = BODY.replace(b'rows_total{table="a"} 2.5e9\n', b"") if "table" in labels else BODY
    recurring = Recurring(limits=Limits(), own=own_families.TYPES)
    assert repeated(body, key, recurring) == prepared(body, key)
    # And again, when what the group makes of it is known as well.
    body = body.replace(b" 3\n", b" -0.5\n")
    assert recurring.prepare(body, key, replace=True, received_at_seconds=1.5) == prepared(body, key)


@pytest.mark.parametrize(
    "body",
    [
        b"# HELP x Level 3\nx  1\n",
        b"# run 7\nx\t1\n",
        b'# TYPE h histogram\nh_bucket{le="NaN"} 5\nh_sum 6\nh_count 7\nx\t1\n',
        b"# run 7\n# TYPE h histogram\nh_sum 4\nh_count\t1\n",
    ],
)
def test_a_number_of_the_shape_is_none_of_the_body(body: bytes) -> None:
    """A number that is not split off, as behind two blanks, is not taken for one that comes out nowhere."""
    assert repeated(body, KEY) in (None, prepared(body, KEY))


@pytest.mark.parametrize("end", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029"])
def test_only_line_feeds_end_lines(end: str) -> None:
    """What str.splitlines takes for the end of a line may stand in a value, of the body or of the group."""
    body = f'x{{a="b{end} 1{end}c"}} 1\ny{{a="{end}"}} 2\n'.encode()
    key = GroupingKey.of({"job": f"a{end} 2"})
    assert repeated(body, key) == prepared(body, key)


def test_one_shape_serves_many_groups_and_numbers() -> None:
    """What is learnt of one group's push is used for another's, as long as the names of their labels are the same."""
    recurring = Recurring(limits=Limits(), own=own_families.TYPES)
    assert repeated(BODY, KEY, recurring) is not None
    other = GroupingKey.of({"job": "b"})
    body = BODY.replace(b" 2.5e9\n", b" NaN\n").replace(b"took_seconds_count 5", b"took_seconds_count 7")
    push = recurring.prepare(body, other, replace=True, received_at_seconds=1.5)
    assert push == prepared(body, other)
    assert recurring.prepare(BODY, GroupingKey.of({"job": "a", "x": "1"}), replace=True, received_at_seconds=1) is None


def test_what_comes_once_is_not_learnt() -> None:
    """The first push of a shape goes the long way."""
    recurring = Recurring(limits=Limits(), own=own_families.TYPES)
    assert recurring.prepare(BODY, KEY, replace=True, received_at_seconds=1.5) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x 1",
        b"x 1 2\n",
        b"# HELP x Of 5\nx 1\n",
        b"# in 5\nx 1\n",
        b"x 1\nx 2\n",
        b"x nonsense\n",
        b"x inf\n",
        b"x 1e-100\n",
        b"x 0e000\ny 1\n",
        b"# TYPE s summary\ns_sum -0e000\ns_count 1\n",
        b'x{job="b"} 1\nx{job="c"} 2\n',
        b"# TYPE h histogram\nh_count -1\n",
        b"# TYPE h histogram\nh_count 1.5\n",
        b"# TYPE s summary\ns_sum 1\ns_sum 2\n",
        b"# TYPE pushgateway_build_info counter\npushgateway_build_info 1\n",
        b'x{a="b"} 1\nx{c="d"} 2\n',
        b'x{a="\x01"} 1\n',
        b'x{a="\xff"} 1\n',
        b'x{a="' + b"b" * 20_000 + b'"} 1\n',
    ],
)
def test_what_goes_the_long_way(body: bytes) -> None:
    """What is refused, and what depends on numbers or on the group in another way, is left to the parser."""
    assert repeated(body, KEY) is None


def test_labels_that_take_too_much_go_the_long_way() -> None:
    """Whether the group's labels are too much for as many lines is said by the long way."""
    recurring = Recurring(limits=Limits(rendered_bytes=500), own=own_families.TYPES)
    assert repeated(BODY, KEY, recurring) is not None
    long = GroupingKey.of({"job": "b" * 100})
    assert recurring.prepare(BODY, long, replace=True, received_at_seconds=1.5) is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When shapes would take too much, all are forgotten, and learnt again as they come."""
    monkeypatch.setattr("pushgateway.recurring._KEPT_BYTES", 100_000)
    recurring = Recurring(limits=Limits(), own={})
    for number in range(200):
        assert repeated(b"x_%s 1\n" % (b"a" * number), KEY, recurring) is not None
    assert len(recurring._known) < 200


@pytest.mark.parametrize("value", ["", "b" * 5000])
@pytest.mark.parametrize("body", [BODY, b"# nothing\n"])
def test_memory_of_groups_is_bounded(monkeypatch: pytest.MonkeyPatch, body: bytes, value: str) -> None:
    """What groups make of a shape is kept for some, and made again for others: long labels and empty groups count."""
    monkeypatch.setattr("pushgateway.recurring._GROUPED_BYTES", 30_000)
    recurring = Recurring(limits=Limits(), own=own_families.TYPES)
    for number in range(60):
        key = GroupingKey.of({"job": f"job-{number}", "long": value})
        assert repeated(body, key, recurring) == prepared(body, key)
    assert len(recurring._grouped) < 60
    kept = [one for made in recurring._grouped.values() for one in made.families]
    assert sum(len(one.lines) for one in kept) < 30_000
    assert sum(made.bytes for made in recurring._grouped.values()) == recurring._grouped_bytes <= 30_000
    # The newest are kept, unless one alone is too much.
    newest = [GroupingKey.of({"job": f"job-{number}", "long": value}).key for number in range(60)]
    found = [key for _, key in recurring._grouped]
    assert found == newest[len(newest) - len(found) :]


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(family_lists(), st.randoms(use_true_random=False))
def test_any_push_is_the_same_or_goes_the_long_way(families: list[object], numbers: random.Random) -> None:
    """Whatever text says, with other numbers than when it was learnt: the same push, or None."""
    body = text.render(families)  # type: ignore[arg-type]
    recurring = Recurring(limits=Limits(), own=own_families.TYPES)
    repeated(with_numbers(body, numbers), KEY, recurring)
    body = with_numbers(body, numbers)
    recurring.prepare(body, KEY, replace=True, received_at_seconds=1.5)
    push = recurring.prepare(body, KEY, replace=True, received_at_seconds=1.5)
    try:
        expected = repr(prepared(body, KEY))  # as text, since NaN equals nothing
    except PushgatewayError:
        expected = "None"
    assert push is None or repr(push) == expected
