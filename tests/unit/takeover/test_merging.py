"""Do the list of groups and the scrape together tell what a gateway holds?"""

from __future__ import annotations

from pushgateway.formats.json_groups import ListedFamily, ListedGroup
from pushgateway.model import (
    Exemplar,
    Histogram,
    Labels,
    Metric,
    MetricFamily,
    MetricType,
    NativeHistogram,
    Sample,
)
from pushgateway.takeover import merge

JOB: Labels = (("job", "a"),)
LABELS: Labels = (("instance", ""), ("job", "a"))
ONE = Sample(LABELS, 1.0)
EXEMPLAR = Exemplar((("trace", "1"),), 1.0)


def listed(
    told: Metric | None = ONE,
    *,
    type: MetricType = MetricType.COUNTER,
    key: Labels = JOB,
    labels: Labels = LABELS,
    pushed: float = 5.0,
    failed: float = 0.0,
) -> ListedGroup:
    """Make a listed group of one family with one series."""
    return ListedGroup(key, pushed, failed, (ListedFamily("x", type, "h", 4.0, ((labels, told),)),))


def scraped(
    metric: Metric, *, type: MetricType = MetricType.COUNTER, labels: Labels = LABELS, pushed: float = 5.0
) -> list[MetricFamily]:
    """Make a scrape of one series and its group's times."""
    return [
        MetricFamily("push_failure_time_seconds", MetricType.GAUGE, "", (Sample(labels, 0.0),)),
        MetricFamily("push_time_seconds", MetricType.GAUGE, "", (Sample(labels, pushed),)),
        MetricFamily("x", type, "another group's help", (metric,), "seconds"),
    ]


def test_values_come_from_the_scrape() -> None:
    """The scrape's value counts, with what the list cannot say; HELP and times are the group's own."""
    truth = Sample(LABELS, 1.0, exemplar=EXEMPLAR)
    [group] = merge([listed()], scraped(truth))
    [family] = group.families
    assert family == MetricFamily("x", MetricType.COUNTER, "h", (truth,), "seconds")
    assert (group.key.labels, group.pushed_at_seconds, group.failed_at_seconds) == (JOB, 5.0, 0.0)
    assert group.family_times == {"x": 4.0}
    assert group.problem == ""


def test_an_empty_label_in_the_key() -> None:
    """Times are found although the gateway shows them with an empty label that the key is without."""
    labels = (("e", ""), *LABELS)
    truth = Sample(labels, 1.0, exemplar=EXEMPLAR)
    [group] = merge([listed(Sample(labels, 1.0), labels=labels)], scraped(truth, labels=labels))
    assert group.families[0].metrics == (truth,)


def test_a_push_between_the_two() -> None:
    """Of a group that the scrape shows with another push time, the list's values count."""
    [group] = merge([listed()], scraped(Sample(LABELS, 2.0, exemplar=EXEMPLAR), pushed=5.5))
    assert group.families[0].metrics == (Sample(LABELS, 1.0),)


def test_without_a_scrape() -> None:
    """Where there is no scrape the list has to do."""
    [group] = merge([listed()], [])
    assert group.families[0].metrics == (Sample(LABELS, 1.0),)
    assert group.problem == ""


def test_what_the_list_does_not_tell() -> None:
    """A native histogram is taken from the scrape, or else the group has a problem that says why."""
    truth = Histogram(LABELS, (), 1.0, 2, native=NativeHistogram(0, 0.0, 2))
    group = listed(None, type=MetricType.HISTOGRAM)
    [found] = merge([group], scraped(truth, type=MetricType.HISTOGRAM))
    assert found.families[0].metrics == (truth,)
    [found] = merge([group], scraped(truth, type=MetricType.HISTOGRAM, pushed=6.0))
    assert "import again" in found.problem
    assert "x{instance='',job='a'}" in found.problem
    [found] = merge([group], [])
    assert "there is no scrape" in found.problem


def test_another_type_in_the_scrape() -> None:
    """A family that the scrape shows with another type is not the group's."""
    [group] = merge([listed()], scraped(Sample(LABELS, 2.0), type=MetricType.GAUGE))
    assert group.families[0].metrics == (Sample(LABELS, 1.0),)


def test_what_was_not_utf8() -> None:
    """A replacement character that the scrape does not confirm stands for bytes that were not UTF-8."""
    key, labels = (("job", "\ufffd"),), (("instance", ""), ("job", "\ufffd"))
    [group] = merge([listed(None, key=key, labels=labels)._replace(families=())], [])
    assert "not UTF-8" in group.problem
    [group] = merge([listed(Sample((("l", "\ufffd"),), 1.0), labels=(("l", "\ufffd"),))], [])
    assert "not UTF-8" in group.problem
    real = Sample(labels, 1.0)
    [group] = merge([listed(real, key=key, labels=labels)], scraped(real, labels=labels))
    assert group.problem == ""


def test_a_group_without_a_job() -> None:
    """What has no job is no group."""
    [group] = merge([listed(key=())], [])
    assert group.problem == "it has no job"


def test_the_same_key_twice() -> None:
    """Of two groups that differ in an empty label only, the one that was pushed last counts."""
    first, second = listed(pushed=5.0), listed(key=(*JOB, ("z", "")), pushed=6.0)
    older, newer = merge([second, first], [])
    assert (older.pushed_at_seconds, newer.pushed_at_seconds) == (5.0, 6.0)
    assert "pushed later" in older.problem
    assert newer.problem == ""
