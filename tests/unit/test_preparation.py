"""Is a store handed the same for the same families, whoever prepares them?"""

from __future__ import annotations

import pytest

from pushgateway.errors import InconsistentPushError, LimitError
from pushgateway.model import GroupingKey, MetricFamily, MetricType, Sample
from pushgateway.preparation import prepare_push, prepare_refusal

KEY = GroupingKey.of({"job": "a"})
SERIES = b'{instance="",job="a"}'


def family(*labels: tuple[str, str], name: str = "x") -> MetricFamily:
    """Make a gauge with one series."""
    return MetricFamily(name, MetricType.GAUGE, "help", (Sample(labels, 1.0),))


def test_a_push_is_labelled_and_rendered() -> None:
    """Families get the labels of their group, their lines and their hashes; the group's own series is rendered."""
    push = prepare_push([family(("z", "1"))], KEY, replace=True, received_at_seconds=2.5, rendered_bytes=1000, own={})
    [stored] = push.families
    assert (push.key, push.replace, push.received_at_seconds, push.series) == (KEY, True, 2.5, SERIES)
    assert (push.checked, push.contradictory) == (True, False)
    assert stored.text == b'x{instance="",job="a",z="1"} 1\n'
    assert stored.identities == ((("job", "a"), ("z", "1")),)
    assert (stored.samples, len(stored.hashes), stored.help) == (1, 8, "help")


def test_contradictions_are_refused_or_noted() -> None:
    """What contradicts itself or the gateway's own families is refused, or noted where that is tolerated."""
    twice = MetricFamily("y", MetricType.GAUGE, "", (Sample((), 1.0), Sample((("job", "b"),), 2.0)))
    for families in ([family()], [twice]):
        own = {"x": MetricType.COUNTER}
        with pytest.raises(InconsistentPushError):
            prepare_push(families, KEY, replace=False, received_at_seconds=1.0, rendered_bytes=1000, own=own)
        push = prepare_push(
            families, KEY, replace=False, received_at_seconds=1.0, rendered_bytes=1000, own=own, checked=False
        )
        assert (push.checked, push.contradictory) == (False, True)


def test_labels_that_take_too_much() -> None:
    """The labels of the group, once a line, may take so much."""
    with pytest.raises(LimitError, match="rendered-bytes"):
        prepare_push([family()], KEY, replace=True, received_at_seconds=1.0, rendered_bytes=10, own={})


def test_a_refusal_has_all_reasons() -> None:
    """What is recorded of a refused push is its time and its reasons."""
    refusal = prepare_refusal(KEY, InconsistentPushError(["one", "two"]), received_at_seconds=3.0)
    assert (refusal.key, refusal.received_at_seconds, refusal.series, refusal.reason) == (KEY, 3.0, SERIES, "one; two")
