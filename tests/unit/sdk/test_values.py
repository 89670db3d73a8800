"""Durations, grouping keys and SLOs: what is taken, what is refused, and how is it written?"""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymetrics_sdk import SLO, ConfigError
from pymetrics_sdk.durations import seconds
from pymetrics_sdk.grouping import GroupingKey


@pytest.mark.parametrize(
    ("value", "expected"),
    [
     ("30m", 1800), ("1h30m", 5400), ("250ms", 0.25), ("1.5s", 1.5), ("90", 90), (90, 90), ("1d", 86400),
     ("2w", 1209600),
     (timedelta(minutes=2), 120), (" 5s ", 5)],
)  # fmt: skip
def test_durations_become_seconds(value: str | float | timedelta, expected: float) -> None:
    """Text with units, numbers and timedeltas mean the same."""
    assert seconds(value, setting="grace") == expected


@pytest.mark.parametrize(
    "value", ["", "soon", "5x", "-3s", "0", 0, -1, float("inf"), float("nan"), timedelta(0), "5 m"]
)
def test_what_is_no_duration_is_refused_by_name(value: str | float | timedelta) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigError, match="grace"):
        seconds(value, setting="grace")


@pytest.mark.parametrize(
    "value", ["1000000000000d", "1e300", "9" * 400 + "d", 1e300, 10**400, timedelta.max, timedelta(days=3661)]
)
def test_durations_beyond_what_timers_take_are_refused(value: str | float | timedelta) -> None:
    """Ten years are the longest: anything near a timer's limits would end as an error far from where it was given."""
    with pytest.raises(ConfigError, match="heartbeat"):
        seconds(value, setting="heartbeat")


@pytest.mark.parametrize("value", [None, [], object(), b"5s"])
def test_objects_that_are_no_durations_are_refused_by_name(value: object) -> None:
    """A wrong type is the same error as a wrong text, since both come from the same argument."""
    with pytest.raises(ConfigError, match="timeout"):
        seconds(value, setting="timeout")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("job", "labels", "path"),
    [
        ("nightly-billing", {}, "/metrics/job/nightly-billing"),
        ("a b", {}, "/metrics/job@base64/YSBi"),
        ("..", {}, "/metrics/job@base64/Li4"),
        ("x", {"path": "/var/log", "a": "1"}, "/metrics/job/x/a/1/path@base64/L3Zhci9sb2c"),
        ("x", {"empty": ""}, "/metrics/job/x"),
        ("x", {"dot": "."}, "/metrics/job/x/dot@base64/Lg"),
        ("jöb", {}, "/metrics/job@base64/asO2Yg"),
    ],
)
def test_grouping_keys_are_written_safely(job: str, labels: dict[str, str], path: str) -> None:
    """Everything but letters, digits, underscore and hyphen goes as base64; labels are sorted, empty ones dropped."""
    assert GroupingKey.of(job, labels).path() == path


@given(job=st.text(min_size=1), value=st.text())
def test_every_value_survives_its_path(job: str, value: str) -> None:
    """What a gateway decodes from the path is what was meant, for any text."""
    parts = GroupingKey.of(job, {"label": value}).path().removeprefix("/metrics/").split("/")
    decoded = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        plain = name.removesuffix("@base64")
        decoded[plain] = base64.urlsafe_b64decode(text + "==").decode() if plain != name else text
    clean = {"job": job.encode("utf-8", "replace").decode(), "label": value.encode("utf-8", "replace").decode()}
    assert decoded == {name: text for name, text in clean.items() if text}


@pytest.mark.parametrize("name", ["job", "instance", "__x", "1x", "a-b", ""])
def test_grouping_labels_that_no_gateway_takes_are_refused(name: str) -> None:
    """A label name is checked when the job is made, not when its push is refused at night."""
    with pytest.raises(ConfigError, match="label"):
        GroupingKey.of("x", {name: "v"})


def test_slos_become_labels() -> None:
    """Percentages and seconds are written as autometrics' queries expect them."""
    slo = SLO(success=99.9, latency=("250ms", 99))
    assert slo.counter_labels("charge") == ("charge", "99.9")
    assert slo.histogram_labels("charge") == ("charge", "99", "0.25")
    assert SLO(success=95, name="api").counter_labels("charge") == ("api", "95")
    assert SLO().histogram_labels("charge") == ("", "", "")


@pytest.mark.parametrize(
    "arguments", [{"success": 0}, {"success": 101}, {"latency": ("300ms", 99)}, {"latency": ("1s", 0.0)}]
)
def test_slos_that_nobody_could_query_are_refused(arguments: dict[str, object]) -> None:
    """A percentage must be one, and a latency must be a bucket's bound."""
    with pytest.raises(ConfigError):
        SLO(**arguments)
