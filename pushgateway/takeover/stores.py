"""Do two stores hold the same groups, and would a gateway on either expose the same?

Group by group with all that a store knows of them; then, if those agree, line by line what a scrape in text shows,
which is what was rendered at the push, and of what contradicts that part which is exposed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pushgateway import rules
from pushgateway.formats import protobuf, text
from pushgateway.model import Form, GroupContents, MetricFamily, Snapshot
from pushgateway.own_families import TYPES
from pushgateway.rules import Contested
from pushgateway.storage import Store
from pushgateway.takeover.comparison import Comparison, compare, key_of, stored_groups
from pushgateway.takeover.migration import is_newer

__all__ = ["StoreComparison", "compare_stores"]


class StoreComparison(NamedTuple):
    """What a comparison has found.

    Attributes:
        found: Of the groups, and of the scrapes.
        newer: How many groups were left out, since they were pushed later to the new store.
        lines: How many lines of scrapes were compared: 0 if groups differ or were left out.
    """

    found: Comparison
    newer: int
    lines: int


def compare_stores(old: Store, new: Store) -> StoreComparison:
    """Compare the groups of one store with those that another has of the same keys.

    Args:
        old: The one.
        new: The other, which may hold more groups, and newer ones.

    Raises:
        StoreError: One of them cannot be read.
    """
    here = {contents.group.key: contents for contents in new.groups()}
    everything = old.groups()
    before = [contents for contents in everything if not is_newer(contents, here.get(contents.group.key))]
    after = [here[contents.group.key] for contents in before if contents.group.key in here]
    found = compare(stored_groups(before), stored_groups(after))
    differences = [*found.differences, *_known_to_stores(before, after)]
    newer = len(everything) - len(before)
    lines = 0
    if not differences and not newer:
        whole = len(here) == len(before)
        olds, news = (_exposed(store.families(Form.TEXT), helps=whole) for store in (old, new))
        lines = len(olds)
        differences += [f"the old scrape alone has the line {_shown(line)}" for line in sorted(olds - news)]
        if whole:
            differences += [f"the new scrape alone has the line {_shown(line)}" for line in sorted(news - olds)]
    return StoreComparison(Comparison(found.groups, found.series, tuple(differences)), newer, lines)


def _known_to_stores(before: Sequence[GroupContents], after: Sequence[GroupContents]) -> Iterator[str]:
    """Compare what no exposition tells."""
    here = {contents.group.key: contents for contents in after}
    for old in before:
        new = here.get(old.group.key)
        if new is None:
            continue
        same_failure = old.group.failed_at_seconds == new.group.failed_at_seconds
        if same_failure and old.group.failure_reason != new.group.failure_reason:
            yield f"the reason of the last failure of {key_of(old.group)}"
        times = {block.name: block.pushed_at_seconds for block in new.families}
        for block in old.families:
            if times.get(block.name, block.pushed_at_seconds) != block.pushed_at_seconds:
                yield f"when {block.name} of {key_of(old.group)} was pushed"


def _exposed(snapshot: Snapshot, *, helps: bool) -> set[bytes]:
    """Return the lines of a scrape in text, but for the gateway's own.

    Args:
        snapshot: In TEXT form.
        helps: Whether with those of HELP, which are those of the newest push.
    """
    lines: set[bytes] = set()
    for view in snapshot.families:
        lines.update(text.render_header(view.name, view.type, view.help).splitlines(), *_split(view.bodies))
    blocks = [Contested(block, protobuf.decode_metrics(block.type, block.body)) for block in snapshot.contested]
    for family in rules.resolve(blocks, TYPES).families:
        lines.update(_header(family), text.render_metrics(family).splitlines())
    return lines if helps else {line for line in lines if not line.startswith(b"# HELP ")}


def _header(family: MetricFamily) -> list[bytes]:
    return text.render_header(family.name, family.type, family.help).splitlines()


def _split(bodies: Sequence[bytes]) -> Iterator[list[bytes]]:
    return (body.splitlines() for body in bodies)


def _shown(line: bytes) -> str:
    return line.decode()
