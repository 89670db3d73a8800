"""Is a push to be stored, beside what is stored already?

The decision is the same for every database; `lookups` says what it asks of one. Nothing here looks at more than the
push is long: names and series are looked up in indexes. It rests on a promise that every store keeps: families that are
not suspect never conflict with each other. So as long as no family is suspect, one that is stored already, with its
type, has nothing to fear from another name or type; only its series may be new.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from pushgateway.errors import InconsistentPushError, LimitError, OvertakenError, RequestError, StoreBusyError
from pushgateway.limits import Limits
from pushgateway.model import GroupingKey, MetricType, Push, StoredFamily, Totals
from pushgateway.rules import HASH_BYTES, conflicts, suffix_rivals
from pushgateway.storage.growth import exceeded
from pushgateway.storage.lookups import Lookups, Namesake, Sought, StoredFamilyState
from pushgateway.storage.schema import TYPES
from pushgateway.storage.series import PushedSeries
from pushgateway.storage.twins import Twin, find_twins

__all__ = [
    "QUICK_BYTES",
    "Beside",
    "OwnFamilies",
    "Rules",
    "Verdict",
    "check_quick",
    "judge",
    "needs_check",
    "overtaken",
    "shape_text",
]

QUICK_BYTES: Final = 1 << 20
"""What a change may replace or remove without waiting, in both forms: freeing it takes SQLite 4 ms a MiB."""


class OwnFamilies:
    """The gateway's own families, which count as stored.

    Args:
        types: Their names and types, also of those without series yet.
    """

    __slots__ = ("_near", "types")

    def __init__(self, types: Mapping[str, MetricType]) -> None:
        self.types = dict(types)
        rivals = (rival for name, type_ in types.items() for rival, _ in suffix_rivals(name, type_))
        self._near = frozenset(types) | frozenset(rivals)

    def may_concern(self, name: str) -> bool:
        """Return whether a family of this name could conflict with one of ours."""
        return name in self._near


class Rules(NamedTuple):
    """What a change has to respect.

    Attributes:
        own: The gateway's own families.
        limits: How much may be stored.
        may_wait: Whether the caller may be kept waiting; else only what is quick is done.
        family_bytes: How large a family of one group may be, both forms together.
    """

    own: OwnFamilies
    limits: Limits
    may_wait: bool
    family_bytes: int


class Beside(NamedTuple):
    """What is stored that a push is judged beside.

    Attributes:
        is_new: Whether the push's group has to be made.
        shape: The group's shape as a JSON array; None if no push has ever reached it.
        stored: What the group has: all of it if the push replaces it, else under the pushed names.
        shapes: All shapes of the push's job.
    """

    is_new: bool
    shape: str | None
    stored: Mapping[str, StoredFamilyState]
    shapes: Sequence[str]


class Verdict(NamedTuple):
    """What is to become of a push.

    Attributes:
        refusal: Why it is to be refused; None if it is to be stored.
        suspects: The names of the families that conflict, in a push that is stored all the same.
        growth: How much more is stored afterwards.
    """

    refusal: RequestError | None
    suspects: frozenset[str]
    growth: Totals


class _Conflicts:
    """What was found: sentences for whoever pushed, and the names of the families."""

    __slots__ = ("findings", "names")

    def __init__(self) -> None:
        self.findings = conflicts.Findings()
        self.names: set[str] = set()


def shape_text(key: GroupingKey) -> str:
    """Return how the shape of a group is stored."""
    return json.dumps(key.shape, ensure_ascii=False, separators=(",", ":"))


def check_quick(size_bytes: int, rules: Rules) -> None:
    """Send whoever may not wait away, before anything is changed, if so much is to be replaced or removed.

    Raises:
        StoreBusyError: It is much, and the caller may not wait.
    """
    if size_bytes > QUICK_BYTES and not rules.may_wait:
        raise StoreBusyError("the group is large; replacing or removing it takes a while")


def overtaken(push: Push, pushed_at_seconds: float) -> OvertakenError | None:
    """Return why a push that comes from another gateway gives way to what its group has; None if it does not."""
    if push.yields_after_seconds is None or pushed_at_seconds <= push.yields_after_seconds:
        return None
    return OvertakenError(pushed_at_seconds)


def needs_check(family: StoredFamily, row: StoredFamilyState | None) -> bool:
    """Return whether a pushed family may conflict with other names or types although no family is suspect.

    Args:
        family: As pushed.
        row: What its group has under its name.
    """
    return row is None or row.type is not family.type or row.suspect


def judge(lookups: Lookups, push: Push, series: PushedSeries, *, beside: Beside, rules: Rules) -> Verdict:
    """Decide on a push.

    Args:
        lookups: In the transaction that writes.
        push: What is to be stored.
        series: Its series, projected on as many shapes as were known before.
        beside: What is stored.
        rules: What is allowed.

    Raises:
        StoreBusyError: It would take too long now, and may take less time when the caller comes again.
    """
    growth = Totals(
        int(beside.is_new),
        len(push.families) - len(beside.stored),
        series.count - sum([row.series for row in beside.stored.values()]),
    )
    own_shape = beside.shape or shape_text(push.key)
    refusal = (
        series.refusal
        or _beyond_limits(series, None if beside.shape else own_shape, beside.shapes, rules)
        or exceeded(growth, rules.limits, lookups.totals)
    )
    if refusal is not None:
        return Verdict(refusal, frozenset(), growth)
    others = [shape for shape in beside.shapes if shape != own_shape]
    try:
        found = _find_conflicts(lookups, push, stored=beside.stored, series=series, shapes=others, own=rules.own)
    except LimitError as error:
        return Verdict(error, frozenset(), growth)
    if push.checked and found.findings:
        return Verdict(InconsistentPushError(found.findings.reasons()), frozenset(), growth)
    return Verdict(None, frozenset(found.names), growth)


def _beyond_limits(
    series: PushedSeries, new_shape: str | None, shapes: Sequence[str], rules: Rules
) -> RequestError | None:
    largest = max(series.sizes, default=0)
    if largest > rules.family_bytes:
        return LimitError("family-bytes", allowed=rules.family_bytes, seen=largest)
    if new_shape is not None and new_shape not in shapes and len(shapes) >= rules.limits.shapes_per_job:
        return LimitError("shapes-per-job", allowed=rules.limits.shapes_per_job, seen=len(shapes) + 1)
    return None


def _find_conflicts(
    lookups: Lookups,
    push: Push,
    *,
    stored: Mapping[str, StoredFamilyState],
    series: PushedSeries,
    shapes: Sequence[str],
    own: OwnFamilies,
) -> _Conflicts:
    """Compare a push with all other groups, with the gateway's own families, and with what it leaves in its own group.

    Raises:
        LimitError: It would take too many look-ups.
        StoreBusyError: It would take too long, and may take less time when the caller comes again.
    """
    found = _Conflicts()
    any_suspect = lookups.any_suspect()
    concerned = {family.name for family in push.families if any_suspect or needs_check(family, stored.get(family.name))}
    answers: Iterator[Namesake | None] = iter(())
    if concerned:
        replaced = None if push.replace else {family.name for family in push.families}
        sought = [one for family in push.families if family.name in concerned for one in _sought(family, replaced)]
        answers = iter(lookups.namesakes(sought))
    for family in push.families:
        if family.name in concerned:
            _add_namesakes(family, answers, found)
        if own.may_concern(family.name):
            _check_own(family, own.types, found)
    if shapes:
        for twin in find_twins(lookups, series.onto(shapes)):
            _add_twin(push, twin, found)
    return found


def _sought(family: StoredFamily, replaced: set[str] | None) -> Iterator[Sought]:
    """Say which stored families would conflict with a pushed one: first those of its name, then those of each rival's.

    Args:
        family: A pushed family.
        replaced: Which names of its own group the push replaces; None for all. Those were compared inside the push.
    """
    yield Sought(family.name, [type_ for type_ in TYPES if type_ is not family.type], elsewhere=True)
    for rival, types in suffix_rivals(family.name, family.type):
        yield Sought(rival, types or TYPES, elsewhere=replaced is None or rival in replaced)


def _add_namesakes(family: StoredFamily, answers: Iterator[Namesake | None], found: _Conflicts) -> None:
    """Take the answers for what `_sought` gives for a family."""
    namesake = next(answers)
    if namesake is not None:
        found.names.add(family.name)
        found.findings.add(conflicts.other_type, family.name, family.type, stored=namesake.type, group=namesake.group)
    for rival, _ in suffix_rivals(family.name, family.type):
        namesake = next(answers)
        if namesake is not None:
            _add_collision(family, rival, namesake.type, found, where=conflicts.in_group(namesake.group))


def _check_own(family: StoredFamily, own: Mapping[str, MetricType], found: _Conflicts) -> None:
    own_type = own.get(family.name, family.type)
    if own_type is not family.type:
        found.names.add(family.name)
        found.findings.add(conflicts.own_type, family.name, family.type, own=own_type)
    for rival, types in suffix_rivals(family.name, family.type):
        rival_type = own.get(rival)
        if rival_type is not None and (types is None or rival_type in types):
            _add_collision(family, rival, rival_type, found, where=conflicts.OWN)


def _add_collision(family: StoredFamily, rival: str, rival_type: MetricType, found: _Conflicts, *, where: str) -> None:
    found.names.add(family.name)
    found.findings.add(
        conflicts.suffix_collision, family.name, family.type, rival=rival, rival_type=rival_type, where=where
    )


def _add_twin(push: Push, twin: Twin, found: _Conflicts) -> None:
    name, wanted, key = twin
    found.names.add(name)
    family = next(family for family in push.families if family.name == name)
    for at, labels in enumerate(family.identities):
        if family.hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES] == wanted:
            found.findings.add(conflicts.twin, name, labels, group=key)
            return
