"""What is a store handed for families that were parsed, wherever they come from?

Validate, check the size, label, check, render: each step is a pure function of `rules` or `formats`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pushgateway import rules
from pushgateway.errors import InconsistentPushError
from pushgateway.formats import protobuf, text
from pushgateway.model import GroupingKey, Labels, MetricFamily, MetricType, Push, Refusal, StoredFamily

__all__ = ["prepare_push", "prepare_refusal"]


def prepare_push(  # noqa: PLR0913 -- settings, which all have names
    families: Sequence[MetricFamily],
    key: GroupingKey,
    *,
    replace: bool,
    received_at_seconds: float,
    rendered_bytes: int,
    own: Mapping[str, MetricType],
    checked: bool = True,
    utf8_names: bool = False,
    go_on: Callable[[], None] | None = None,
) -> Push:
    """Make a push of parsed families.

    Args:
        families: As parsed.
        key: The group.
        replace: Whether the group's other families go.
        received_at_seconds: Unix time of receipt.
        rendered_bytes: What the group's labels may take when every sample line has them.
        own: Names and types of the gateway's own families, which count as stored.
        checked: False tolerates families that contradict each other or `own`.
        utf8_names: Whether names may have any characters.
        go_on: Called between the steps; what it raises ends the work. None for no call.

    Raises:
        InconsistentPushError: The families cannot be stored, or contradict each other or `own`.
        LimitError: The labels would take more than `rendered_bytes`.
    """
    rules.validate(families, key, utf8_names=utf8_names)
    rules.check_size(families, key, rendered_bytes=rendered_bytes)
    labelled = list(rules.label(families, key))
    # Nobody has the parsed families any more, unless the caller does: a large push has a third of its memory in them.
    del families
    if go_on is not None:
        go_on()
    identities = [rules.identities(family) for family in labelled]
    hashes = [rules.hashes(series) for series in identities]
    contradictory = _contradicts(labelled, identities, hashes, own, tolerated=not checked)
    labelled.reverse()
    # Each family goes as soon as it is rendered.
    stored = [
        _stored(labelled.pop(), series, hashed, utf8_names=utf8_names)
        for series, hashed in zip(identities, hashes, strict=True)
    ]
    return Push(
        key=key,
        families=tuple(stored),
        replace=replace,
        received_at_seconds=received_at_seconds,
        series=_series(key),
        checked=checked,
        contradictory=contradictory,
        likeness=rules.likeness([(one.name, one.type, one.help, one.unit, one.legacy, one.hashes) for one in stored]),
    )


def prepare_refusal(key: GroupingKey, error: InconsistentPushError, *, received_at_seconds: float) -> Refusal:
    """Make what a store records of a push that is refused.

    Args:
        key: The group.
        error: Why.
        received_at_seconds: Unix time of receipt.
    """
    return Refusal(key, received_at_seconds, _series(key), "; ".join(error.reasons))


def _series(key: GroupingKey) -> bytes:
    return text.render_labels(rules.group_labels(key))


def _contradicts(
    families: Sequence[MetricFamily],
    identities: Sequence[Sequence[Labels]],
    hashes: Sequence[bytes],
    own: Mapping[str, MetricType],
    *,
    tolerated: bool,
) -> bool:
    """Return whether families contradict each other or the gateway's own; if that is not tolerated, raise."""
    try:
        rules.check(families, own, identities=identities, hashes=hashes)
    except InconsistentPushError:
        if not tolerated:
            raise
        return True
    return False


def _stored(family: MetricFamily, identities: Sequence[Labels], hashes: bytes, *, utf8_names: bool) -> StoredFamily:
    lines = text.render_metrics(family)
    return StoredFamily(
        name=family.name,
        type=family.type,
        help=family.help,
        text=lines,
        metrics=protobuf.encode_metrics(family),
        identities=identities,
        hashes=hashes,
        samples=lines.count(b"\n"),
        unit=family.unit,
        legacy=not utf8_names or rules.is_legacy(family),
    )
