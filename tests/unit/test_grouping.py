"""Do URL paths and grouping keys map to each other as the contract's section B says?"""

from __future__ import annotations

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway import grouping
from pushgateway.config import Limits
from pushgateway.errors import GroupingKeyError, LimitError
from pushgateway.model import GroupingKey
from pushgateway.names import is_label_name
from tests.unit import name_strategies

label_names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True).filter(is_label_name)
values = st.text(st.characters(codec="utf-8"), max_size=12)
keys = st.builds(
    lambda labels, job: GroupingKey.of({**labels, "job": job}),
    st.dictionaries(label_names, values, max_size=5),
    values.filter(bool),
)


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        (b"job/a", {"job": "a"}),
        (b"job/a/", {"job": "a"}),
        (b"job/a/l/v", {"job": "a", "l": "v"}),
        (b"job/a/l/v/b/w", {"b": "w", "job": "a", "l": "v"}),
        (b"job/a/_x/v", {"_x": "v", "job": "a"}),
        (b"job@base64/YQ", {"job": "a"}),
        (b"job@base64/YQ==", {"job": "a"}),
        (b"job@base64/YQ======", {"job": "a"}),
        (b"job@base64/YR", {"job": "a"}),
        (b"job@base64/Y\r\nQ\n", {"job": "a"}),
        (b"job/a/l@base64/fn5-Pz8_", {"job": "a", "l": "~~~???"}),
        (b"job/a/l@base64/Yi9j", {"job": "a", "l": "b/c"}),
        (b"job/a/l/sp ace+plus", {"job": "a", "l": "sp ace+plus"}),
        (b"job/a/l/YQ==", {"job": "a", "l": "YQ=="}),
        (b"job/a/l/..", {"job": "a", "l": ".."}),
        (b"job/a/l/\xc3\xa9", {"job": "a", "l": "é"}),
        (b"job/\xc3\xa9", {"job": "é"}),
    ],
)
def test_a_path_names_the_group_of_its_labels(path: bytes, labels: dict[str, str]) -> None:
    """A path reads as its job and its labels, plain or in base64 with or without padding."""
    assert grouping.parse(path) == GroupingKey.of(labels)


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        (b"job/a/l/1/l/2", {"job": "a", "l": "2"}),
        (b"job/a/l@base64/MQ/l/2", {"job": "a", "l": "2"}),
        (b"job/a/l/1/l@base64/Mg", {"job": "a", "l": "2"}),
        (b"job/a/l/1/l/", {"job": "a"}),
        (b"job/a/job/b", {"job": "a"}),
        (b"job@base64/YQ/job/b", {"job": "a"}),
    ],
)
def test_the_last_of_a_repeated_label_wins_and_the_job_component_always(path: bytes, labels: dict[str, str]) -> None:
    """Repeating a label replaces its value, also across plain and base64; a label `job` never replaces the job."""
    assert grouping.parse(path) == GroupingKey.of(labels)


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        (b"job/a/l/", {"job": "a"}),
        (b"job/a/l@base64/", {"job": "a"}),
        (b"job/a/l@base64/=", {"job": "a"}),
        (b"job/a/l@base64/=/m/v", {"job": "a", "m": "v"}),
        (b"job/a/l//m/v", {"job": "a", "m": "v"}),
        (b"job/a/instance/", {"job": "a"}),
    ],
)
def test_an_empty_value_is_no_label(path: bytes, labels: dict[str, str]) -> None:
    """An empty component is an empty value, and an empty value names the group without that label."""
    assert grouping.parse(path) == GroupingKey.of(labels)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (b"job/a/l", 'odd number of components in label string "/l"; expected /NAME/VALUE pairs'),
        (b"job/a/l/v/", 'odd number of components in label string "/l/v/"'),
        (b"job/a/l/b/c", 'odd number of components in label string "/l/b/c"'),
        (b"job/a//l/v", 'odd number of components in label string "//l/v"'),
        (b'job/a/"\\\a\t\x7f\x01', r'odd number of components in label string "/\"\\\a\t\x7f\x01"'),
        (b"job/a/\xc2\xa0\xe2\x80\xa8\xf3\xa0\x80\x81\xc3\xa9", r'label string "/\u00a0\u2028\U000e0001é"'),
        (b"job/a/__x/v", 'improper label name "__x"; expected [a-zA-Z_]'),
        (b"job/a/1x/v", 'improper label name "1x"'),
        (b"job/a/a-b/v", 'improper label name "a-b"'),
        (b"job/a/a.b/v", 'improper label name "a.b"'),
        (b"job/a/a:b/v", 'improper label name "a:b"'),
        (b"job/a/\xc3\xa9/v", 'improper label name "é"'),
        (b"job/a/l\nb/c", r'improper label name "l\nb"'),
        (b"job/a/l\n/c", r'improper label name "l\n"'),
        (b"job/a/@base64/YQ", 'improper label name ""'),
        (b"job/a//v", 'improper label name ""'),
        (b"job/a///", 'odd number of components in label string "///"'),
        (b"job/a//", 'improper label name ""'),
        (b"job/a/l@base64@base64/YQ", 'improper label name "l@base64"'),
        (b"job/a/l@base64/Y", 'invalid base64 encoding for label l="Y": illegal base64 data at input byte 0'),
        (b"job/a/l@base64/Y=", 'for label l="Y=": illegal base64 data at input byte 0; expected URL-safe base64'),
        (b"job/a/l@base64/YWJj!!", 'for label l="YWJj!!": illegal base64 data at input byte 4'),
        (b"job/a/l@base64/YQ=x", 'for label l="YQ=x": illegal base64 data at input byte 2'),
        (b"job/a/l@base64/Y\n", r'for label l="Y\n": illegal base64 data at input byte 1'),
        (b"job/a/l@base64/Yi+j", 'for label l="Yi+j": illegal base64 data at input byte 2'),
        (b"job@base64/!!", 'invalid base64 encoding in job name "": illegal base64 data at input byte 0'),
        (b"job@base64/YWJjZGVm!!", 'invalid base64 encoding in job name "abcdef": illegal base64 data at input byte 8'),
        (b"job@base64/!!/l", 'invalid base64 encoding in job name ""'),
        (b"job//l", 'odd number of components in label string "/l"'),
        (b"job//x/y", "job name is required; expected job/NAME"),
        (b"job/", "job name is required"),
        (b"job@base64/=", "job name is required"),
        (b"job@base64/", "job name is required"),
        (b"job", "job name is required"),
        (b"jobs/a", 'path starts with "jobs"; expected job/NAME'),
        (b"", 'path starts with ""'),
    ],
)
def test_a_path_that_names_no_group_is_refused_with_the_reason(path: bytes, message: str) -> None:
    """Each mistake gets the original's words, in the original's order of checks, and what was expected."""
    with pytest.raises(GroupingKeyError, match=re.escape(message)):
        grouping.parse(path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (b"job/\xff", r'invalid UTF-8 in path "job/\xff": byte 0xff at offset 4'),
        (b"job/a/l/v\xed\xa0\x80", r'invalid UTF-8 in path "job/a/l/v\xed\xa0\x80": byte 0xed at offset 9'),
        (b"job/a/\xc0\xaf/v", "invalid UTF-8 in path"),
        (b"job@base64/_w", 'invalid UTF-8 in job name "_w": byte 0xff at offset 0 of the decoded value'),
        (b"job/a/l@base64/Yf8", 'invalid UTF-8 for label l="Yf8": byte 0xff at offset 1 of the decoded value'),
    ],
)
def test_what_is_not_utf8_never_becomes_a_label(path: bytes, message: str) -> None:
    """One label that is not UTF-8 would break every scrape of the original; here no request can make one (Q1)."""
    with pytest.raises(GroupingKeyError, match=re.escape(message)):
        grouping.parse(path)


@given(keys)
def test_a_formatted_key_reads_as_itself(key: GroupingKey) -> None:
    """The path of any key leads back to the key, and is made of characters that no proxy touches."""
    path = grouping.format_path(key)
    assert grouping.parse(path.encode("ascii")) == key
    assert re.fullmatch(r"[A-Za-z0-9_\-@/]+", path)


@given(keys, st.booleans())
def test_readable_paths_come_back_and_need_no_escapes(key: GroupingKey, utf8_names: bool) -> None:
    """parse(readable_path(key)) == key for every key, in characters that nothing on the way changes, dots included."""
    path = grouping.readable_path(key, utf8_names=utf8_names)
    assert grouping.parse(path.encode("ascii"), utf8_names=utf8_names) == key
    assert re.fullmatch(r"[A-Za-z0-9_.:@/-]+", path)
    assert not {".", ".."} & set(path.split("/"))


def test_a_readable_path_shows_plain_values_as_they_are() -> None:
    """Only what a path cannot carry everywhere is in base64: slashes, blanks, dots alone, other scripts."""
    key = GroupingKey.of({"job": "db backup", "instance": "db-1.example:9100", "dir": "/srv", "up": ".."})
    assert grouping.readable_path(key) == (
        "job@base64/ZGIgYmFja3Vw/dir@base64/L3Nydg/instance/db-1.example:9100/up@base64/Li4"
    )
    dotted = GroupingKey.of({"job": "a", "host.name": "b"})
    assert grouping.readable_path(dotted, utf8_names=True) == "job/a/U__host_2e_name/b"
    assert grouping.readable_path(dotted) == "job/a/U__host_2e_name/b"


@given(st.dictionaries(label_names, values.filter(lambda value: "/" not in value), max_size=5), st.booleans())
def test_plain_and_base64_values_name_the_same_group(labels: dict[str, str], pad: bool) -> None:
    """A value written plainly and the same value in base64 are one group, whatever the padding."""
    plain = "job/a" + "".join(f"/{name}/{value}" for name, value in labels.items() if name != "job")
    coded = "job/a" + "".join(
        f"/{name}@base64/{base64.urlsafe_b64encode(value.encode()).decode().rstrip('=') + '=' * pad}"
        for name, value in labels.items()
        if name != "job"
    )
    assert grouping.parse(plain.encode()) == grouping.parse(coded.encode()) == GroupingKey.of({**labels, "job": "a"})


@pytest.mark.parametrize(
    ("fits", "more", "limit"),
    [
        (b"job/a/b/1/c/", b"job/a/b/1/c/1/d/1", "key-labels"),
        (b"job/a/b/1/b/2/b/3/job/4", b"job/a/b/1/c/1/d/", "key-labels"),
        (b"job/a/xxxx/1", b"job/a/xxxxx/1", "name-bytes"),
        ("job/a/b/éé1".encode(), "job/a/b/éé12".encode(), "value-bytes"),
        (b"job/abcde", b"job/abcdef", "value-bytes"),
        (b"job@base64/YWJjZGU", b"job@base64/YWJjZGVm", "value-bytes"),
    ],
)
def test_a_key_that_is_too_large_is_refused_by_the_name_of_its_limit(fits: bytes, more: bytes, limit: str) -> None:
    """Labels, each counted once and an empty one too, names and decoded values have exact limits."""
    limits = Limits(key_labels=3, name_bytes=4, value_bytes=5)
    grouping.parse(fits, limits=limits)
    with pytest.raises(LimitError) as caught:
        grouping.parse(more, limits=limits)
    assert caught.value.limit == limit


@pytest.mark.parametrize(
    "path",
    [
        "jab{}/a", "{}", "job/a/l/v/{}", "job/a/l-{}/v", "job/a/{}@base64/*", "job/a/l@base64/*{}", "job@base64/{}*",
        "job/a/l@base64/_{}", "job/a/l/\udcff{}",
    ],
)  # fmt: skip
def test_long_paths_are_cut_in_messages(path: str) -> None:
    """No part of a path comes back whole if it has more than 200 characters."""
    with pytest.raises(GroupingKeyError) as caught:
        grouping.parse(path.format("n" * 1_000).encode(errors="surrogateescape"))
    assert "..." in str(caught.value)
    assert len(str(caught.value)) < 1_200  # a byte that is not UTF-8 takes four characters


@given(st.binary(max_size=40))
def test_any_bytes_are_a_key_or_a_grouping_key_error(tail: bytes) -> None:
    """No path makes the parser fail in any other way, and every key that comes out can be written as a path."""
    try:
        key = grouping.parse(b"job/" + tail)
    except GroupingKeyError:
        return
    assert key.job
    assert grouping.parse(grouping.format_path(key).encode()) == key


@pytest.mark.parametrize(
    ("path", "labels"),
    [
        (b"job/a/U__foo_2e_bar/v", {"foo.bar": "v"}),
        (b"job/a/U__foo_2e_bar@base64/YmF6", {"foo.bar": "baz"}),
        (b"job/a/foo.bar/v", {"foo.bar": "v"}),
        (b"job/a/foo.bar@base64/YmF6", {"foo.bar": "baz"}),
        (b"job/a/\xc3\xa9 \n/v", {"é \n": "v"}),
        (b"job/a/U__\xc3\xa9.x/v", {"é.x": "v"}),
        (b"job/a/a:b/v", {"a:b": "v"}),
        (b"job/a/1x/v", {"1x": "v"}),
        (b"job/a/U__a_d800_/v", {"U__a_d800_": "v"}),
        (b"job/a/U__foo/v", {"foo": "v"}),
        (b"job/a/U__foo/v/foo/w", {"foo": "w"}),
        (b"job/a/foo.bar/v/U__foo_2e_bar/w", {"foo.bar": "w"}),
        (b"job/a/U__job/b", {}),
        (b"job/a/l@base64@base64/Yg", {"l@base64": "b"}),
        (b"job/a/foo.bar/", {}),
    ],
)
def test_label_names_may_have_any_characters(path: bytes, labels: dict[str, str]) -> None:
    """With UTF-8 names a label is named by its characters, or escaped behind U__; both are one label."""
    assert grouping.parse(path, utf8_names=True) == GroupingKey.of({"job": "a", **labels})


def test_without_utf8_names_an_escaped_name_is_taken_literally() -> None:
    """Nobody unescapes U__ unless the operator has asked for such names."""
    assert grouping.parse(b"job/a/U__x_2e_y/v") == GroupingKey.of({"job": "a", "U__x_2e_y": "v"})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"job/a/U______name/v", "__name"),
        (b"job/a/U______name__/v", "__name_"),
        (b"job/a/U_____5f__5f_name/v", "___name"),
        (b"job/a/U___5f__5f_name/v", "__name"),
        (b"job/a/__x.y/v", "__x.y"),
        (b"job/a/__/v", "__"),
        (b"job/a/U__/v", ""),
        (b"job/a//v", ""),
        (b"job/a/@base64/YQ", ""),
        (b"job/a/U__a_0_b/v", r"a\x00b"),
        (b"job/a/a\x00b/v", r"a\x00b"),
    ],
)
def test_improper_label_names_of_any_characters_are_refused(path: bytes, name: str) -> None:
    """Reserved names are refused however they are written, and so are empty ones and NUL."""
    with pytest.raises(GroupingKeyError, match=f'improper label name "{re.escape(name)}"; expected any characters'):
        grouping.parse(path, utf8_names=True)


@pytest.mark.parametrize("path", [b"job/a/\xff/v", b"job/a/U__\xff/v", b"job/a/x.y@base64/_w"])
def test_names_and_values_of_any_characters_are_still_utf8(path: bytes) -> None:
    """What is not UTF-8 is refused with UTF-8 names as without."""
    with pytest.raises(GroupingKeyError, match="invalid UTF-8"):
        grouping.parse(path, utf8_names=True)


def test_name_bytes_are_counted_of_the_name_that_is_meant() -> None:
    """The limit holds for the UTF-8 of the name, not for how a URL writes it."""
    limits = Limits(name_bytes=8)
    assert grouping.parse(b"job/a/U___e9__e9__e9__e9_/v", limits=limits, utf8_names=True)
    for name in ("ééééé", "U___e9__e9__e9__e9__e9_"):
        with pytest.raises(LimitError) as caught:
            grouping.parse(f"job/a/{name}/v".encode(), limits=limits, utf8_names=True)
        assert (caught.value.limit, caught.value.seen) == ("name-bytes", 10)


@given(
    st.builds(
        lambda labels, job: GroupingKey.of({**labels, "job": job}),
        st.dictionaries(name_strategies.label_names, values, max_size=5),
        values.filter(bool),
    )
)
def test_a_key_of_any_names_is_read_from_the_path_made_of_it(key: GroupingKey) -> None:
    """Every key has a path, and the path needs no percent-encoding."""
    path = grouping.format_path(key, utf8_names=True)
    assert re.fullmatch(r"[A-Za-z0-9_@/-]+", path)
    assert grouping.parse(path.encode(), utf8_names=True) == key
