"""What may a push hold, looked at alone and beside the gateway's own metrics?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway import rules
from pushgateway.errors import InconsistentPushError
from pushgateway.model import GroupingKey, Labels, MetricFamily, MetricType, Sample
from pushgateway.names import shown
from tests.unit import rules_strategies as values

KEY = GroupingKey.of({"job": "j"})
COUNTER, GAUGE, SUMMARY, UNTYPED, HISTOGRAM, GAUGE_HISTOGRAM = (
    MetricType.COUNTER,
    MetricType.GAUGE,
    MetricType.SUMMARY,
    MetricType.UNTYPED,
    MetricType.HISTOGRAM,
    MetricType.GAUGE_HISTOGRAM,
)


def refusals(families: list[MetricFamily], *, key: GroupingKey = KEY) -> tuple[str, ...]:
    """Return the reasons for which `validate` refuses, () if it does not."""
    try:
        rules.validate(families, key)
    except InconsistentPushError as error:
        return error.reasons
    return ()


def findings(*families: MetricFamily, own: Mapping[str, MetricType] | None = None) -> tuple[str, ...]:
    """Return the reasons for which `check` refuses the labelled families, () if it does not."""
    try:
        rules.check(rules.label(families, KEY), own or {})
    except InconsistentPushError as error:
        return error.reasons
    return ()


class TestValidate:
    def test_an_ordinary_push_is_valid(self) -> None:
        """Nothing is raised for families of every type with legal names."""
        for type_ in MetricType:
            assert refusals([values.family("x:y_1", type_, (("_a", "1"),), ())]) == ()
        assert refusals([]) == ()

    def test_a_timestamp_is_refused_and_named_once_a_family(self) -> None:
        """A pushed timestamp would make the sample stale for ever; the first such series of each family is named."""
        stamped = MetricFamily("x", GAUGE, "", (Sample((), 1.0), Sample((("a", "1"),), 1.0, 0), Sample((), 1.0, 7)))
        (reason,) = refusals([stamped])
        assert reason.startswith("pushed metrics must not have timestamps")
        assert '"x" {a="1"}' in reason

    @pytest.mark.parametrize("name", ["__a", "__name__", "a-b", "a.b", "é", "", "1a", "a:b", "a\n"])
    def test_a_label_name_outside_the_grammar_or_reserved_is_refused(self, name: str) -> None:
        """Each improper label name is named with its family."""
        series = ((("a", "1"),), ((name, "1"),), ((name, "2"),), (("a", "1"), (name, "1")))
        (reason,) = refusals([values.family("x", GAUGE, *series)])
        assert reason.startswith(
            f'collected metric "x" has a label with an invalid name: {shown(name)}; expected [a-zA-Z_]'
        )

    @pytest.mark.parametrize("name", ["", "bad.name", "zz\n", "1x", "é", "a-b"])
    def test_a_metric_name_outside_the_grammar_is_refused(self, name: str) -> None:
        """One such name would end or break every scrape of the original (Q3)."""
        (reason,) = refusals([values.family(name, GAUGE, ())])
        assert reason.startswith("invalid metric name")

    @pytest.mark.parametrize(("type_", "label"), [(SUMMARY, "quantile"), (HISTOGRAM, "le"), (GAUGE_HISTOGRAM, "le")])
    @pytest.mark.parametrize("value", ["5", ""])
    def test_the_label_of_a_types_own_lines_is_refused_in_a_body(
        self, type_: MetricType, label: str, value: str
    ) -> None:
        """A second `le` or `quantile` on a line is invalid exposition, even an empty one."""
        (reason,) = refusals([values.family("x", type_, (), ((label, value),))])
        assert f'must not have an explicit "{label}" label, as the body gives it' in reason

    @pytest.mark.parametrize(("type_", "label"), [(SUMMARY, "quantile"), (HISTOGRAM, "le"), (GAUGE_HISTOGRAM, "le")])
    def test_the_label_of_a_types_own_lines_is_refused_in_a_grouping_key(self, type_: MetricType, label: str) -> None:
        """A group with `le` in its key takes no histogram, one with `quantile` no summary (Q4)."""
        (reason,) = refusals([values.family("x", type_, ())], key=GroupingKey.of({"job": "j", label: "5"}))
        assert f'must not have an explicit "{label}" label, as the grouping key gives it' in reason

    def test_le_and_quantile_are_ordinary_labels_elsewhere(self) -> None:
        """A gauge may have both, a histogram `quantile`, a summary `le`."""
        both = (("le", "1"), ("quantile", "1"))
        families = [
            values.family("x", GAUGE, both),
            values.family("h", HISTOGRAM, both[1:]),
            values.family("s", SUMMARY, both[:1]),
        ]
        assert refusals(families) == ()
        assert refusals(families[:1], key=GroupingKey.of({"job": "j", "le": "1", "quantile": "1"})) == ()

    def test_a_label_or_a_family_that_comes_twice_is_refused(self) -> None:
        """Formats that can say either are refused for it, and the name is given."""
        (label,) = refusals([values.family("x", GAUGE, (("a", "1"), ("a", "2")))])
        assert 'collected metric "x" has two or more labels with the same name: a;' in label
        (family,) = refusals([values.family("x", GAUGE, ()), values.family("x", COUNTER, ())])
        assert 'collected metric "x" comes in two families' in family

    @pytest.mark.parametrize("name", ["push_time_seconds", "push_failure_time_seconds"])
    def test_the_gateways_own_time_families_may_have_any_labels_but_no_timestamp(self, name: str) -> None:
        """What is dropped anyway is not refused for its labels; a timestamp shows a client that needs to be told."""
        assert refusals([values.family(name, HISTOGRAM, (("__a", "1"), ("le", "1")))]) == ()
        (reason,) = refusals([MetricFamily(name, GAUGE, "", (Sample((), 1.0, 5),))])
        assert "must not have timestamps" in reason

    def test_everything_found_is_listed_up_to_a_limit(self) -> None:
        """The first ten findings are sentences, the eleventh entry says how many more there are."""
        bad = [values.family(f"x{number}", GAUGE, (("__a", "1"), ("__b", "1"))) for number in range(8)]
        reasons = refusals(bad)
        assert len(reasons) == rules.conflicts.MAX_REASONS + 1
        assert reasons[-1] == "... and 6 more"
        assert len(refusals(bad[:5])) == 10


class TestDuplicates:
    def test_the_same_series_twice_is_refused_with_its_labels(self) -> None:
        """Name and labels of the duplicate are in the reason, once however often it comes."""
        series = (("a", "1"),)
        (reason,) = findings(values.family("x", GAUGE, series, (("a", "2"),), series, series))
        assert 'collected metric "x" {a="1",job="j"} was collected before with the same name and label values' in reason

    @pytest.mark.parametrize("twin", [(("a", ""),), (("instance", ""),), (("job", "other"),)])
    def test_labels_that_are_empty_or_replaced_do_not_tell_series_apart(self, twin: Labels) -> None:
        """An empty label is no label (Q7), and a label that the key replaces is the key's."""
        (reason,) = findings(values.family("x", GAUGE, (), twin))
        assert "was collected before" in reason

    def test_one_label_set_in_two_families_is_fine(self) -> None:
        """Series are the same only within a family."""
        assert findings(values.family("x", GAUGE, ()), values.family("y", GAUGE, ())) == ()

    def test_a_histogram_or_summary_counts_as_one_series(self) -> None:
        """Two histograms with the same labels are duplicates, whatever their buckets."""
        for type_ in (HISTOGRAM, SUMMARY, GAUGE_HISTOGRAM):
            assert len(findings(values.family("x", type_, (), ()))) == 1

    def test_a_long_label_is_shortened(self) -> None:
        """A label of a megabyte does not come back in the answer."""
        series = (("a", "1" * 1_000_000),)
        (reason,) = findings(values.family("x", GAUGE, series, series))
        assert len(reason) < 1_000


class TestSuffixes:
    @pytest.mark.parametrize(
        ("type_", "suffixes"),
        [
            (COUNTER, set()),
            (GAUGE, set()),
            (UNTYPED, set()),
            (SUMMARY, {"_count", "_sum"}),
            (HISTOGRAM, {"_count", "_sum", "_bucket"}),
            (GAUGE_HISTOGRAM, {"_count", "_sum", "_bucket"}),
        ],
    )
    def test_a_type_claims_its_name_with_the_suffixes_of_its_lines(self, type_: MetricType, suffixes: set[str]) -> None:
        """Both directions agree, in a push and beside the gateway's own, for every type of the other family."""
        for suffix, other in itertools.product(("_count", "_sum", "_bucket", "_total", "_created"), MetricType):
            collides = suffix in suffixes
            stem, derived = values.family("x", type_, ()), values.family("x" + suffix, other, ())
            assert bool(findings(stem, derived)) == collides
            assert bool(findings(derived, stem)) == collides
            assert bool(findings(stem, own={derived.name: other})) == collides
            assert bool(findings(derived, own={stem.name: type_})) == collides

    def test_a_pair_in_one_push_is_reported_once(self) -> None:
        """The family with the suffix is named first, in the original's words."""
        (reason,) = findings(values.family("h", HISTOGRAM, ()), values.family("h_count", COUNTER, ()))
        assert reason.startswith(
            'collected metric named "h_count" collides with previously collected histogram named "h" in the same push'
        )

    def test_a_histogram_beside_an_own_name_is_reported(self) -> None:
        """The other direction names the pushed histogram first and says that the other is the gateway's."""
        (reason,) = findings(values.family("h", HISTOGRAM, ()), own={"h_sum": GAUGE})
        assert reason.startswith(
            'collected histogram named "h" collides with previously collected metric named "h_sum" '
            "among the gateway's own metrics"
        )

    def test_a_name_that_is_only_a_suffix_has_no_stem(self) -> None:
        """A family named `_count` collides with nothing."""
        assert rules.suffix_rivals("_count", GAUGE) == ()

    def test_a_name_may_have_rivals_in_both_directions(self) -> None:
        """A histogram named x_sum rivals x and three longer names."""
        assert dict(rules.suffix_rivals("x_sum", HISTOGRAM)) == {
            "x": frozenset({SUMMARY, HISTOGRAM, GAUGE_HISTOGRAM}),
            "x_sum_count": None,
            "x_sum_sum": None,
            "x_sum_bucket": None,
        }
        assert dict(rules.suffix_rivals("x_bucket", GAUGE)) == {"x": frozenset({HISTOGRAM, GAUGE_HISTOGRAM})}


class TestOwnFamilies:
    def test_another_type_is_refused_with_both_types(self) -> None:
        """The sentence has the original's words."""
        (reason,) = findings(values.family("process_open_fds", UNTYPED, ()), own={"process_open_fds": GAUGE})
        assert reason.startswith("gathered metric family process_open_fds has type UNTYPED but should have GAUGE")

    def test_the_same_type_merges(self) -> None:
        """A pushed family may stand beside ours of the same name and type."""
        assert findings(values.family("process_open_fds", GAUGE, ()), own={"process_open_fds": GAUGE}) == ()

    def test_own_families_do_not_collide_with_each_other(self) -> None:
        """Only pushed families are looked at."""
        assert findings(values.family("x", GAUGE, ()), own={"h": HISTOGRAM, "h_count": GAUGE}) == ()


def test_several_kinds_of_findings_are_all_listed() -> None:
    """A push with a duplicate, a suffix collision and an own type gets three reasons."""
    reasons = findings(
        values.family("x", HISTOGRAM, (), ()),
        values.family("x_sum", GAUGE, ()),
        values.family("y", GAUGE, ()),
        own={"y": COUNTER},
    )
    assert len(reasons) == 3


def slow_model(families: tuple[MetricFamily, ...], own: Mapping[str, MetricType]) -> bool:
    """Say whether a push is consistent, by the words of the rule and by comparing everything with everything."""
    for family in families:
        series = [{name: value for name, value in metric.labels if value} for metric in family.metrics]
        if any(one == other for one, other in itertools.combinations(series, 2)):
            return False
        if own.get(family.name, family.type) is not family.type:
            return False
    pushed = [(family.name, family.type) for family in families]
    pairs = itertools.chain(itertools.permutations(pushed, 2), itertools.product(pushed, own.items()))
    return not any(claims(one, other) or claims(other, one) for one, other in pairs)


def claims(one: tuple[str, MetricType], other: tuple[str, MetricType]) -> bool:
    """Say whether the lines of the first family could have the name of the second."""
    name, type_ = one
    plain = {COUNTER, GAUGE, UNTYPED}
    lines = [] if type_ in plain else [name + "_count", name + "_sum"]
    if type_ in {HISTOGRAM, GAUGE_HISTOGRAM}:
        lines.append(name + "_bucket")
    return other[0] in lines


@given(
    values.families,
    values.keys,
    st.dictionaries(values.family_names, st.sampled_from(MetricType), max_size=2),
    st.booleans(),
    st.booleans(),
)
def test_check_agrees_with_a_slow_model(
    families: tuple[MetricFamily, ...],
    key: GroupingKey,
    own: Mapping[str, MetricType],
    give_identities: bool,
    give_hashes: bool,
) -> None:
    """What is refused is exactly what a comparison of everything with everything finds, whatever else is given."""
    labelled = rules.label(families, key)
    identities = [rules.identities(family) for family in labelled] if give_identities else None
    hashes = [rules.hashes(rules.identities(family)) for family in labelled] if give_hashes else None
    try:
        rules.check(labelled, own, identities=identities, hashes=hashes)
        accepted = True
    except InconsistentPushError:
        accepted = False
    assert accepted == slow_model(labelled, own)


HUGE = "n" * 1_000_000
HUGE_KEY = GroupingKey.of({"job": HUGE, **{f"{HUGE}{number}": '"' * 1_000 for number in range(3)}})
CONFLICTS = rules.conflicts


@pytest.mark.parametrize(
    "sentence",
    [
        CONFLICTS.duplicate(HUGE, HUGE_KEY.labels),
        CONFLICTS.twin(HUGE, HUGE_KEY.labels, group=HUGE_KEY.key),
        CONFLICTS.other_type(HUGE, GAUGE, stored=COUNTER, group=HUGE_KEY.key),
        CONFLICTS.own_type(HUGE, GAUGE, own=COUNTER),
        CONFLICTS.suffix_collision(HUGE, SUMMARY, rival=f"{HUGE}_sum", rival_type=GAUGE, where=CONFLICTS.OWN),
        CONFLICTS.suffix_collision(f"{HUGE}_sum", GAUGE, rival=HUGE, rival_type=SUMMARY, where=CONFLICTS.IN_PUSH),
        CONFLICTS.timestamp(HUGE, HUGE_KEY.labels),
        CONFLICTS.invalid_metric_name(HUGE),
        CONFLICTS.invalid_label_name(HUGE, HUGE),
        CONFLICTS.repeated_label(HUGE, HUGE),
        CONFLICTS.reserved_label(HUGE, "le", type=HISTOGRAM, in_key=True),
        CONFLICTS.repeated_family(HUGE),
    ],
    ids=lambda sentence: sentence[:10],
)
def test_no_sentence_is_as_long_as_what_was_pushed(sentence: str) -> None:
    """Names of a megabyte are cut after 200 characters and labels after 500, wherever they stand."""
    assert "n" * 200 + "..." in sentence
    assert len(sentence) < 2_000


class TestStoreSentences:
    def test_a_type_clash_names_both_types_and_the_group(self) -> None:
        """The reader learns who has the other type."""
        reason = rules.conflicts.other_type("x", GAUGE, stored=COUNTER, group=KEY.key)
        assert reason.startswith(
            'collected metric "x" is not a COUNTER: it was pushed as GAUGE, and is COUNTER in group'
        )
        assert '{job="j"}' in reason

    def test_a_twin_names_the_series_and_the_group(self) -> None:
        """The reader learns which series is meant and who has it."""
        reason = rules.conflicts.twin("x", (("a", 'q"'), ("job", "j")), group=KEY.key)
        assert 'collected metric "x" {a="q\\"",job="j"} was collected before with the same name and label' in reason
        assert 'in group {job="j"}' in reason

    def test_a_collision_with_a_stored_name_says_where(self) -> None:
        """The group that holds the rival is named."""
        where = rules.conflicts.in_group(KEY.key)
        reason = rules.conflicts.suffix_collision("x_sum", GAUGE, rival="x", rival_type=SUMMARY, where=where)
        assert 'metric named "x_sum" collides with previously collected summary named "x" in group {job="j"}' in reason
