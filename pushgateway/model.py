"""What are the values that travel through the gateway?

Frozen, normalised when made, and free of I/O. `MetricFamily` is what a format parses and renders; `Push` and its
siblings are what a store applies; `Snapshot` is what it returns, and `GroupPage` what it returns to a `GroupQuery`.

They are NamedTuples and not frozen dataclasses with slots, which take 3 times as long to make, and whose classes take
5 times as long to make when they are imported: a twentieth of a start, for those of all modules.

Long, since it is a list of values, most of whose lines say what they mean.
"""

from __future__ import annotations

import enum
import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar

from pushgateway.names import is_legacy_label_name

__all__ = [
    "NO_STAMPS",
    "Change",
    "Delete",
    "Exemplar",
    "FamilyBlock",
    "FamilyView",
    "Form",
    "Group",
    "GroupContents",
    "GroupPage",
    "GroupQuery",
    "GroupSort",
    "GroupState",
    "GroupSummary",
    "GroupingKey",
    "Histogram",
    "Known",
    "LabelTerm",
    "Labels",
    "Mark",
    "Metric",
    "MetricFamily",
    "MetricType",
    "NativeBuckets",
    "NativeHistogram",
    "Push",
    "Refusal",
    "Sample",
    "Section",
    "Sections",
    "Snapshot",
    "Stamps",
    "StoredFamily",
    "Summary",
    "Term",
    "TextTerm",
    "Totals",
    "Wipe",
]

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""(name, value) pairs sorted by name, names unique. An empty value is kept, though it means the same as no label."""


class MetricType(enum.Enum):
    """A family's type; the value is the word of `# TYPE` lines, but that gauge histograms have none in text 0.0.4."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SUMMARY = "summary"
    UNTYPED = "untyped"
    HISTOGRAM = "histogram"
    GAUGE_HISTOGRAM = "gauge_histogram"


class Exemplar(NamedTuple):
    """An observation that stands for others, such as a trace; `timestamp_ns` is Unix nanoseconds, None if not given."""

    labels: Labels
    value: float
    timestamp_ns: int | None = None


class Sample(NamedTuple):
    """One counter, gauge or untyped value.

    `timestamp_ms` is Unix milliseconds, None if the body gave none. Counters alone have an `exemplar`, and
    `created_ns`, the Unix nanoseconds since which they count; None if the body gave none.
    """

    labels: Labels
    value: float
    timestamp_ms: int | None = None
    exemplar: Exemplar | None = None
    created_ns: int | None = None


class Summary(NamedTuple):
    """One summary: `quantiles` are (quantile, value) in pushed order; `count` is an unsigned 64-bit integer.

    `created_ns` is as in `Sample`.
    """

    labels: Labels
    quantiles: tuple[tuple[float, float], ...]
    sum: float
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody wants here
    timestamp_ms: int | None = None
    created_ns: int | None = None


class NativeBuckets(NamedTuple):
    """One side of a native histogram, as io.prometheus.client.Histogram has it.

    `spans` are (offset, length): how many buckets to skip, then how many there are. Of each bucket either `deltas`
    holds the difference of its count to the one before (integer histograms), or `counts` the count itself (float
    histograms).
    """

    spans: tuple[tuple[int, int], ...] = ()
    deltas: tuple[int, ...] = ()
    counts: tuple[float, ...] = ()


class NativeHistogram(NamedTuple):
    """The native side of a histogram (https://prometheus.io/docs/specs/native_histograms/).

    `schema` is the resolution: a bucket's bounds are 2 ** (2 ** -schema) apart. `zero_count` is an int, or a float in a
    float histogram.
    """

    schema: int
    zero_threshold: float
    zero_count: float
    negative: NativeBuckets = NativeBuckets()
    positive: NativeBuckets = NativeBuckets()
    exemplars: tuple[Exemplar, ...] = ()


class Histogram(NamedTuple):
    """One histogram: `buckets` are (upper bound, cumulative count) in pushed order, without an implied +Inf.

    Counts are ints, or floats throughout when any of them is not an integer (a float histogram). `exemplars` has one a
    bucket, or is empty when none has any. `native` is None for a histogram that has classic buckets alone. `created_ns`
    is as in `Sample`.
    """

    labels: Labels
    buckets: tuple[tuple[float, float], ...]
    sum: float
    count: float  # type: ignore[assignment]  # as in Summary
    timestamp_ms: int | None = None
    exemplars: tuple[Exemplar | None, ...] = ()
    native: NativeHistogram | None = None
    created_ns: int | None = None


Metric: TypeAlias = Sample | Summary | Histogram


class MetricFamily(NamedTuple):
    """A named, typed set of metrics as a format reads or writes it.

    `metrics` hold Sample for counter, gauge and untyped, Summary for summary, Histogram for both histogram types: a
    tuple, or a `tables.SampleTable`, which is equal to the tuple of its samples.
    """

    name: str
    type: MetricType
    help: str
    metrics: Sequence[Metric]
    unit: str = ""


class GroupingKey(NamedTuple):
    """The identity of a group: its labels, `job` always among them, none of them empty, sorted by name.

    Make it with `GroupingKey.of`, which drops empty labels: an empty label is the same as an absent one.

    Attributes:
        labels: The (name, value) pairs.
        key: The canonical form: a JSON array of the pairs. Equal groups have equal keys; stores sort and index by it.
    """

    labels: Labels
    key: str

    @classmethod
    def of(cls, labels: Mapping[str, str] | Iterable[tuple[str, str]]) -> GroupingKey:
        """Normalise labels (any order, empty values allowed) to a key."""
        pairs = labels.items() if isinstance(labels, Mapping) else labels
        kept = tuple(sorted((name, value) for name, value in pairs if value))
        return cls(kept, json.dumps(kept, ensure_ascii=False, separators=(",", ":")))

    @property
    def job(self) -> str:
        """The value of the label `job`."""
        return next(value for name, value in self.labels if name == "job")

    @property
    def job_first(self) -> Labels:
        """The labels as they are shown and cut: `job`, then the others by name."""
        return tuple(sorted(self.labels, key=lambda label: label[0] != "job"))

    @property
    def shape(self) -> tuple[str, ...]:
        """The sorted label names. Groups of one shape can never hold the same series, since series carry their key."""
        return tuple(name for name, _ in self.labels)

    @property
    def legacy(self) -> bool:
        """Whether all label names are of the legacy grammar."""
        return all(is_legacy_label_name(name) for name, _ in self.labels)

    def __str__(self) -> str:
        return "{" + ",".join(f"{_shown(name)}={_quoted(value)}" for name, value in self.labels) + "}"


def _shown(name: str) -> str:
    return name if is_legacy_label_name(name) else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class StoredFamily(NamedTuple):
    """A family of one group, made ready for a store, which reads nothing of it but names, type, hashes and bytes.

    Attributes:
        name: The family's name.
        type: Its type.
        help: Its help text, "" for none.
        text: Finished exposition lines of text 0.0.4, grouping labels in place, no HELP or TYPE, each ending in LF.
            Names beyond the legacy grammar are in quotes.
        metrics: The canonical, lossless form: `metric` fields (number 4) of an io.prometheus.client.MetricFamily,
            serialised one after the other, so that families concatenate in this form too.
        identities: For each series its non-empty labels, sorted by name: what makes two series the same. A summary
            or histogram counts as one series. Not stored; a store goes through it to look for twins in groups of other
            shapes.
        hashes: 8-byte hashes of the identities (`rules.hashes`), one after the other, in the same order.
        samples: How many sample lines the family has in text.
        unit: Its unit, "" for none.
        legacy: Whether its name and all label names are of the legacy grammar, so that any scraper can read `text`.
    """

    name: str
    type: MetricType
    help: str
    text: bytes
    metrics: bytes
    identities: Sequence[Labels]
    hashes: bytes
    samples: int
    unit: str = ""
    legacy: bool = True


class Push(NamedTuple):
    """Families for one group.

    Attributes:
        key: The group.
        families: What was pushed, names unique; () for an empty body.
        replace: True for PUT (the group's other families go), False for POST (they stay).
        received_at_seconds: Unix time of receipt; becomes push_time_seconds.
        series: The finished label set of the group's own series (push_time_seconds), as in ``{instance="",job="a"}``.
        checked: False applies the push although it conflicts with what is stored, and marks what conflicts as suspect.
        contradictory: Whether an unchecked push conflicts in itself (a series twice, names that collide); then all of
            its families are suspect.
        family_times: When families were pushed, where that is known better than by `received_at_seconds`: they come
            from another gateway. None if it is not.
        yields_after_seconds: For what comes from another gateway: it gives way if the group has been pushed here after
            this Unix time (inf: never), and leaves no failure time if it is refused, since no job has met that. None
            for what a job has pushed.
        likeness: `rules.likeness` of the families, by which a store sees that a push brings what its group has; b"" if
            it is not to look.
    """

    key: GroupingKey
    families: tuple[StoredFamily, ...]
    replace: bool
    received_at_seconds: float
    series: bytes
    checked: bool = True
    contradictory: bool = False
    family_times: Mapping[str, float] | None = None
    yields_after_seconds: float | None = None
    likeness: bytes = b""


class Refusal(NamedTuple):
    """A push that was refused before it reached the store: the group gets a failure time, and is created without one.

    Attributes:
        key: The group.
        received_at_seconds: Unix time of receipt; becomes push_failure_time_seconds.
        series: As in `Push`.
        reason: Why, in one sentence.
    """

    key: GroupingKey
    received_at_seconds: float
    series: bytes
    reason: str


class Delete(NamedTuple):
    """Remove one group; a group that does not exist is fine."""

    key: GroupingKey


@dataclass(frozen=True, slots=True)  # a tuple of nothing would be false
class Wipe:
    """Remove every group, in one transaction."""


Change: TypeAlias = Push | Refusal | Delete | Wipe


class Form(enum.Enum):
    """Which bytes of the families a read returns."""

    TEXT = "text"
    METRICS = "metrics"


class Group(NamedTuple):
    """A stored group: `pushed_at_seconds` and `failed_at_seconds` are Unix times, 0 if it never happened.

    `key` and `legacy` are those of its `GroupingKey`.
    """

    key: str
    series: bytes
    pushed_at_seconds: float
    failed_at_seconds: float
    failure_reason: str
    legacy: bool = True


class FamilyView(NamedTuple):
    """A family over all groups.

    `help` and `unit` are those of the newest push; `bodies` are one a group, in the order of their keys, in the form
    asked for.
    """

    name: str
    type: MetricType
    help: str
    bodies: Sequence[bytes]
    unit: str = ""


class FamilyBlock(NamedTuple):
    """A family of one group, with what is needed to choose between conflicting ones.

    `typed_at_seconds` is when the family first had its type in its group; `pushed_at_seconds` its newest push.
    `suspect` is True if it was stored by an unchecked push that conflicted.
    """

    name: str
    type: MetricType
    help: str
    body: bytes
    group: str
    pushed_at_seconds: float
    typed_at_seconds: float
    suspect: bool
    unit: str = ""


class Totals(NamedTuple):
    """How much a store holds: groups, failed ones included; families, and series, of which a histogram is one.

    `bytes` are those of all families in both forms. They are no limit's, so that a change's growth leaves them 0.
    """

    groups: int
    families: int
    series: int
    bytes: int = 0


class Snapshot(NamedTuple):
    """One consistent state of the store, as a scrape needs it.

    `families` are sorted by name; `contested` are the blocks of those that cannot be exposed as they are stored, in
    METRICS form whatever was asked for, sorted by name and group: suspects and whatever shares a name or a stem with
    one; and where only legacy names are asked for, all blocks under a name of which one has others. `groups` are sorted
    by key. `many_helps` names the families whose groups disagree about the help.
    """

    families: Sequence[FamilyView]
    groups: Sequence[Group]
    contested: Sequence[FamilyBlock]
    many_helps: Sequence[str] = ()


Mark: TypeAlias = tuple[int, int]
"""What tells the contents of a section from others, whenever and by whomever they were read."""

_T = TypeVar("_T")


class Stamps(NamedTuple):
    """The stamps of a section's groups in the order of their keys, and a digest of these keys."""

    keys: bytes
    values: Sequence[int]

    @classmethod
    def of(cls, stamps: Mapping[str, int]) -> Stamps:
        """Make them of a section's stamps by key, which is a string of JSON."""
        return cls(blake2b("\n".join(stamps).encode(), digest_size=16).digest(), array("q", stamps.values()))


NO_STAMPS: Final = Stamps(b"", ())


class Known(NamedTuple):
    """What is known of a section that was read: its `first` and `mark`.

    `stamps` are for whoever can put what has changed into what they have; for whoever cannot, there are none.
    """

    first: str
    mark: Mark
    stamps: Stamps = NO_STAMPS


class Section(NamedTuple):
    """Some groups that follow one another in the order of their keys, the first of which is `first`, or behind it.

    `stamps` are those of all its groups. `groups` are those that were read, sorted by key, and `places` where they
    stand among all; `bodies` has their families by name, in TEXT form, each with the place of its group. If not all
    were read, `amends` is the number of the known section that has the others.
    """

    first: str
    mark: Mark
    stamps: Stamps
    groups: Sequence[Group]
    places: Sequence[int]
    bodies: Mapping[str, Sequence[tuple[int, bytes]]]
    amends: int | None = None


class Sections(NamedTuple, Generic[_T]):
    """One consistent state of the store in sections.

    `families` are those of a `Snapshot`, without bodies. `sections` are all groups in the order of their keys: what was
    made of a section that was read, or the number of the known one that is as it was. `many_helps` is as in `Snapshot`.
    """

    families: Sequence[FamilyView]
    sections: Sequence[int | _T]
    many_helps: Sequence[str]


class GroupContents(NamedTuple):
    """A group with its families, sorted by name, bodies in METRICS form; `bytes` are those of both, as in `Totals`."""

    group: Group
    families: Sequence[FamilyBlock]
    bytes: int = 0


class LabelTerm(NamedTuple):
    """Groups that have a label, or with `equal` False those that have not; the value "" is that of an absent label."""

    name: str
    value: str
    equal: bool = True


class TextTerm(NamedTuple):
    """Groups of which a label's name or value holds a text, whatever the case of either."""

    text: str


Term: TypeAlias = LabelTerm | TextTerm


class GroupSort(enum.Enum):
    """In which order groups are listed; those that are alike in it come by their labels, `job` first."""

    PUSHED = "pushed"  # the newest push first; those that no push has reached last
    FAILED = "failed"  # those whose last push was refused first, the newest refusal first; then as PUSHED
    SIZE = "size"  # the largest first
    NAME = "name"  # by their labels


class GroupState(enum.Enum):
    """Which groups are listed: those whose last push was refused, or whose last push is too old."""

    FAILED = "failed"
    STALE = "stale"


class GroupQuery(NamedTuple):
    """Which groups to list.

    Attributes:
        terms: What their labels have to be: all of these.
        sort: Which come first.
        limit: How many at most, at least 1.
        cursor: Where to go on: `next_cursor` or `previous_cursor` of a page in the same order; "" begins.
        state: Only those of this state; None for all.
        stale_before_seconds: The Unix time before which a last push makes a group stale.
    """

    terms: tuple[Term, ...] = ()
    sort: GroupSort = GroupSort.PUSHED
    limit: int = 50
    cursor: str = ""
    state: GroupState | None = None
    stale_before_seconds: float = 0.0


class GroupSummary(NamedTuple):
    """A group without its families, which are only counted; times are those of `Group`, `bytes` as in `Totals`."""

    key: str
    pushed_at_seconds: float
    failed_at_seconds: float
    failure_reason: str
    families: int
    series: int
    bytes: int


class GroupPage(NamedTuple):
    """Some of the groups that a query is about, of which there are `matching`; a cursor is "" where nothing is left."""

    groups: Sequence[GroupSummary]
    matching: int
    next_cursor: str = ""
    previous_cursor: str = ""
