"""In which words is a conflict reported?

One function a kind of conflict. Each sentence keeps the words of the Go Pushgateway (those of client_golang's
registry), for which people search, and says after them where the other side is and what was expected. Rules and
stores use them alike, and collect them in `Findings`. Names and labels are cut, since sentences go into answers, logs
and the store: one has some 2 000 characters at most.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec

from pushgateway.errors import InconsistentPushError
from pushgateway.model import Labels, MetricType
from pushgateway.names import LABEL_NAME_RE, METRIC_NAME_RE, is_label_name, is_metric_name, shown

__all__ = [
    "IN_PUSH",
    "MAX_REASONS",
    "OWN",
    "Findings",
    "duplicate",
    "in_group",
    "invalid_label_name",
    "invalid_metric_name",
    "invalid_native",
    "other_type",
    "other_value",
    "own_type",
    "repeated_family",
    "repeated_label",
    "reserved_label",
    "suffix_collision",
    "timestamp",
    "twin",
]

MAX_REASONS: Final = 10
"""How many findings are spelt out: enough to see a pattern, while a million of them still make a short answer."""

IN_PUSH: Final = "in the same push"
OWN: Final = "among the gateway's own metrics"

_ANY: Final = "UTF-8 of at least one character and without NUL"
_ALLOWED: Final = "; --push.enable-utf8-names would allow it"

_MAX_LABELS_CHARS: Final = 500
_P = ParamSpec("_P")


class Findings:
    """What was found so far: the first `MAX_REASONS` as sentences, the others as a number."""

    __slots__ = ("_reasons", "_unlisted")

    def __init__(self) -> None:
        self._reasons: list[str] = []
        self._unlisted = 0

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def add(
        self, sentence: Callable[Concatenate[str, _P], str], name: str, *args: _P.args, **kwargs: _P.kwargs
    ) -> None:
        """Add one finding.

        Args:
            sentence: A function of this module; it is only called for findings that are spelt out.
            name: The family.
            *args: As the function wants them.
            **kwargs: As the function wants them.
        """
        if len(self._reasons) < MAX_REASONS:
            self._reasons.append(sentence(name, *args, **kwargs))
        else:
            self._unlisted += 1

    def reasons(self) -> tuple[str, ...]:
        """Return the sentences, the last of which says how many more there are, if there are more."""
        more = (f"... and {self._unlisted} more",) if self._unlisted else ()
        return (*self._reasons, *more)

    def raise_any(self) -> None:
        """Do nothing if nothing was found.

        Raises:
            InconsistentPushError: Something was.
        """
        if self._reasons:
            raise InconsistentPushError(self.reasons())


def in_group(key: str) -> str:
    """Say where: in the group whose `GroupingKey.key` is given."""
    return f"in group {_format(tuple((name, value) for name, value in json.loads(key)))}"


def duplicate(name: str, labels: Labels) -> str:
    """Say that a push holds a series twice; `labels` are its identity."""
    return (
        f'collected metric "{shown(name)}" {_format(labels)} was collected before with the same name and label values '
        f"{IN_PUSH}; expected each series once, where grouping labels replace those of the body and an empty label is "
        "the same as none"
    )


def twin(name: str, labels: Labels, *, group: str) -> str:
    """Say that another group holds a series of the push.

    Args:
        name: The family.
        labels: The series' identity.
        group: `GroupingKey.key` of the other group.
    """
    return (
        f'collected metric "{shown(name)}" {_format(labels)} was collected before with the same name and label values '
        f"{in_group(group)}; expected a series that no other group has"
    )


def other_type(name: str, pushed: MetricType, *, stored: MetricType, group: str) -> str:
    """Say that another group holds a family with another type.

    Args:
        name: The family.
        pushed: Its type in the push.
        stored: Its type in the other group.
        group: `GroupingKey.key` of the other group.
    """
    return (
        f'collected metric "{shown(name)}" is not a {stored.name}: it was pushed as {pushed.name}, and is '
        f"{stored.name} {in_group(group)}; expected one type in all groups"
    )


def other_value(name: str, labels: Labels, *, type: MetricType) -> str:
    """Say that a metric has no value of its family's type; `labels` are those of the metric."""
    return (
        f'collected metric "{shown(name)}" {_format(labels)} is not a {type.name}; expected a value of the type that '
        "its family has, which is COUNTER if a protobuf message names none"
    )


def own_type(name: str, pushed: MetricType, *, own: MetricType) -> str:
    """Say that a family of the gateway's own has another type.

    Args:
        name: The family.
        pushed: Its type in the push.
        own: Its type among the gateway's own.
    """
    return (
        f"gathered metric family {shown(name)} has type {pushed.name} but should have {own.name}, its type {OWN}; "
        "expected that type or another name"
    )


def suffix_collision(name: str, pushed: MetricType, *, rival: str, rival_type: MetricType, where: str) -> str:
    """Say that two names collide, of which one is the other with a suffix that its type's lines have.

    Args:
        name: A family of the push.
        pushed: Its type.
        rival: One of the names that `suffix_rivals` gives for it.
        rival_type: The type of `rival`.
        where: `IN_PUSH`, `OWN` or a result of `in_group`.
    """
    ours, theirs = shown(name), shown(rival)
    if name.startswith(rival):
        what = f'metric named "{ours}" collides with previously collected {_word(rival_type)} named "{theirs}"'
        stem = theirs
    else:
        what = f'{_word(pushed)} named "{ours}" collides with previously collected metric named "{theirs}"'
        stem = ours
    return (
        f"collected {what} {where}; expected no other family to be named {stem}_count, {stem}_sum or, beside a "
        f"histogram, {stem}_bucket"
    )


def timestamp(name: str, labels: Labels) -> str:
    """Say that a sample of a family has a timestamp; `labels` are those of one such sample."""
    return (
        f'pushed metrics must not have timestamps, as "{shown(name)}" {_format(labels)} has; expected a value and '
        "nothing after it"
    )


def invalid_metric_name(name: str, *, utf8: bool = False) -> str:
    """Say that a family's name is outside the grammar.

    Args:
        name: The name.
        utf8: Whether any characters were allowed.
    """
    expected = _ANY if utf8 else METRIC_NAME_RE + (_ALLOWED if is_metric_name(name, utf8=True) else "")
    return f'invalid metric name "{shown(name)}"; expected {expected}'


def invalid_label_name(name: str, label: str, *, utf8: bool = False) -> str:
    """Say that a label's name is outside the grammar or reserved.

    Args:
        name: The family.
        label: The label's name.
        utf8: Whether any characters were allowed.
    """
    expected = _ANY if utf8 else LABEL_NAME_RE
    expected += " that does not start with __"
    if not utf8 and is_label_name(label, utf8=True):
        expected += _ALLOWED
    return f'collected metric "{shown(name)}" has a label with an invalid name: {shown(label)}; expected {expected}'


def invalid_native(name: str, labels: Labels, *, problem: str) -> str:
    """Say that Prometheus would not take a native histogram; `problem` is a clause that says why."""
    return f'collected metric "{shown(name)}" {_format(labels)} is an invalid native histogram: {problem}'


def repeated_label(name: str, label: str) -> str:
    """Say that one series has a label twice."""
    return (
        f'collected metric "{shown(name)}" has two or more labels with the same name: {shown(label)}; expected each '
        "label once in a series"
    )


def reserved_label(name: str, label: str, *, type: MetricType, in_key: bool) -> str:
    """Say that a series has a label that its type's own lines carry.

    Args:
        name: The family.
        label: ``le`` or ``quantile``.
        type: The family's type.
        in_key: True if the grouping key has it, else the body has.
    """
    source = "the grouping key" if in_key else "the body"
    return (
        f'collected metric "{shown(name)}" must not have an explicit "{label}" label, as {source} gives it; '
        f"expected another label name for a {_word(type)}"
    )


def repeated_family(name: str) -> str:
    """Say that a push holds a family twice."""
    return f'collected metric "{shown(name)}" comes in two families {IN_PUSH}; expected all of its series in one'


def _word(type: MetricType) -> str:
    return type.value.replace("_", " ")


def _format(labels: Labels) -> str:
    parts: list[str] = []
    length = -1  # the first has no comma
    for name, value in labels:
        # Nothing is built beyond the cut: a series may have megabytes of labels.
        part = f"{shown(name)}={json.dumps(value[:_MAX_LABELS_CHARS], ensure_ascii=False)}"
        parts.append(part)
        length += len(part) + 1
        if length > _MAX_LABELS_CHARS:
            break
    text = ",".join(parts)
    return "{" + (text if len(text) <= _MAX_LABELS_CHARS else text[:_MAX_LABELS_CHARS] + "...") + "}"
