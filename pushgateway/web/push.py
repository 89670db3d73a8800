"""What happens to a push, from its path and body to the store?

Path, body, parse, prepare, apply: each step but the last is a pure function of another module, and is done once: a
request that came without a ticket and found another writer at work is repeated by the bridge, and what was prepared
waits in `pushgateway.scratch`.

A request without a ticket keeps the event loop from everything else, and one with `pushgateway.room_bytes` keeps a
thread from others: what would take longer asks to be repeated elsewhere, before it is parsed. One whose ticket has
expired has been answered: its work ends where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, cast

from flask import Blueprint, Response, request

from pushgateway import formats
from pushgateway.errors import (
    InconsistentPushError,
    LongWorkError,
    RequestError,
    StoreBusyError,
    StoreError,
    WouldBlockError,
)
from pushgateway.formats import BodyFormat, openmetrics, protobuf, text
from pushgateway.loglines import Log
from pushgateway.model import Delete, GroupingKey, MetricFamily, Push, Refusal
from pushgateway.preparation import prepare_push, prepare_refusal
from pushgateway.storage.base import Ticket
from pushgateway.web import body, responses
from pushgateway.web.environ import RAISED, Environ, seconds_since_begin
from pushgateway.web.handlers import Services, services

__all__ = ["bp", "carry_out"]

bp = Blueprint("push", __name__)

_log = Log(__name__)

_LINE_WORK: Final = 10
_LABEL_BYTES: Final = 32
"""A line counts as the labels of the group that go into it, and 10 for itself; a long label as one for each 32 bytes.
Bytes of the body do not tell: 64 KiB may be 15 000 lines, which a path may fill with 64 labels each."""

_INLINE_WORK: Final = 12_000
"""The most that is done without a ticket: some 1 000 lines, or 160 under 64 labels. Measured 5 to 15 ms."""

_INLINE_FAMILIES: Final = 200
"""The most families that are stored without a ticket, at some 15 us each when the machine has nothing else to do."""

_BULK_WORK: Final = 300_000
"""The most that is done where the bridge says how much room there is: some 25 000 lines, a quarter of a second. Such
pushes take up to 30 MB each, and every worker may have one beside the giant, of which the whole gateway has one."""


class _Prepared(NamedTuple):
    """What a request amounts to.

    Attributes:
        change: What the store is to apply.
        refused: Why the push is refused all the same; then `change` records that. None if it is not.
    """

    change: Push | Refusal | Delete
    refused: RequestError | None = None


@bp.route("/metrics/job/<path:rest>", methods=["PUT", "POST"])
@bp.route("/metrics/job@base64/<path:rest>", methods=["PUT", "POST"])
def push() -> Response:
    """Store the families of the body in the group of the path; the answer means that they are on disk."""
    if RAISED in request.environ:
        raise request.environ.pop(RAISED)  # never a local of this frame, which it would then refer to
    return responses.empty(carry_out(services(), request.environ))


def carry_out(at_hand: Services, environ: Environ) -> int:
    """Do what a push asks for; needs nothing of Flask.

    Args:
        at_hand: The services.
        environ: The request, with `pushgateway.path`.

    Returns:
        The status of the answer, whose body is empty.

    Raises:
        WouldBlockError: As `Services.apply` and `_prepare` do; nothing was stored.
        PushgatewayError: What is wrong with the push, or the store.
    """
    scratch = _scratch(environ)
    answered = True
    try:
        prepared = _once(scratch, lambda: _prepare(at_hand, environ))
        _apply(at_hand, environ, prepared)
    except WouldBlockError:
        answered = False
        raise
    finally:
        if answered:
            at_hand.telemetry.observe_push(
                method=cast(str, environ["REQUEST_METHOD"]),
                size_bytes=_size_bytes(environ),
                duration_seconds=seconds_since_begin(environ),
            )
    status = 202 if at_hand.config.disable_consistency_check else 200
    _note_push(at_hand, environ, status, prepared.change)
    return status


@bp.delete("/metrics/job/<path:rest>")
@bp.delete("/metrics/job@base64/<path:rest>")
def delete() -> Response:
    """Remove the group of the path; the answer means that it is gone, or was never there."""
    at_hand, environ = services(), request.environ
    prepared = _once(_scratch(environ), lambda: _Prepared(Delete(_key(environ, at_hand))))
    at_hand.apply(prepared.change, environ)
    if at_hand.diagnosis.wants_done():
        at_hand.diagnosis.note_done(environ, 202, "group deleted")
    return responses.empty(202)


def _scratch(environ: Environ) -> dict[str, object]:
    return cast("dict[str, object]", environ.get("pushgateway.scratch", {}))


def _once(scratch: dict[str, object], prepare: Callable[[], _Prepared]) -> _Prepared:
    prepared = scratch.get("prepared")
    if prepared is None:
        prepared = scratch["prepared"] = prepare()
    return cast(_Prepared, prepared)


def _prepare(at_hand: Services, environ: Environ) -> _Prepared:
    """Do all that needs neither the store nor another process's patience.

    Raises:
        GroupingKeyError: The path names no group. Looked for before the body, as in the original.
        RequestError: The body cannot be read or parsed, its format is not supported, or a limit is exceeded.
        LongWorkError: The request would take longer than there is room for.
        StoreBusyError: The request's ticket has expired meanwhile.
    """

    def go_on() -> None:
        if _abandoned(environ):
            raise StoreBusyError("the time for this request is over; nothing was stored")

    config = at_hand.config
    key = _key(environ, at_hand)
    received = at_hand.clock()
    replace = environ["REQUEST_METHOD"] == "PUT"
    try:
        # A message of protobuf without the value of its type is inconsistent, too, as in the original.
        parsed = [_parsed(at_hand, environ, key, replace=replace, received_at_seconds=received, check=go_on)]
        if isinstance(parsed[0], Push):
            return _Prepared(parsed[0])
        change = prepare_push(
            # So that the families go as soon as they are labelled: a large push is all that fits in memory.
            cast("tuple[MetricFamily, ...]", parsed.pop()),
            key,
            replace=replace,
            received_at_seconds=received,
            rendered_bytes=config.limits.rendered_bytes,
            own=at_hand.telemetry.names(),
            checked=not config.disable_consistency_check,
            utf8_names=config.enable_utf8_names,
            go_on=go_on,
        )
    except InconsistentPushError as error:
        return _Prepared(prepare_refusal(key, error, received_at_seconds=received), error)
    return _Prepared(change)


def _parsed(
    at_hand: Services,
    environ: Environ,
    key: GroupingKey,
    *,
    replace: bool,
    received_at_seconds: float,
    check: Callable[[], None],
) -> Push | tuple[MetricFamily, ...]:
    """Read the body; returns the push itself where its shape is known, else the families."""
    config = at_hand.config
    format = formats.body_format(cast(str, environ.get("CONTENT_TYPE", "")))
    data = body.read(environ, config.limits, check=check)
    if _is_long(data, key, format, allowed=_allowed_work(environ)):
        raise LongWorkError("the push has many lines")
    if format is BodyFormat.PROTOBUF:
        return protobuf.parse(data, limits=config.limits, check=check)
    if format is BodyFormat.OPENMETRICS:
        return openmetrics.parse(data, limits=config.limits, check=check)
    if at_hand.recurring is not None:
        push = at_hand.recurring.prepare(data, key, replace=replace, received_at_seconds=received_at_seconds)
        if push is not None:
            return push
    return text.parse(
        data,
        limits=config.limits,
        lenient_line_endings=config.lenient_line_endings,
        utf8_names=config.enable_utf8_names,
        check=check,
    )


def _is_long(data: bytes, key: GroupingKey, format: BodyFormat, *, allowed: int | None) -> bool:
    """Return whether a body is more work than is allowed; None allows any."""
    if allowed is None:
        return False
    most = allowed // (_LINE_WORK + len(key.labels) + len(key.key) // _LABEL_BYTES)
    if format is BodyFormat.PROTOBUF:
        # The first one of a worker loads the classes: 20 to 50 ms, of which the loop has none to give.
        loads = allowed == _INLINE_WORK and not protobuf.is_loaded()
        return loads or protobuf.most_samples(data, enough=most) > most
    return data.count(b"\n") > most


def _allowed_work(environ: Environ) -> int | None:
    if "pushgateway.room_bytes" not in environ:
        return None
    return _INLINE_WORK if environ["pushgateway.ticket"] is None else _BULK_WORK


def _family_count(change: Push | Refusal | Delete) -> int:
    return len(change.families) if isinstance(change, Push) else 0


def _abandoned(environ: Environ) -> bool:
    ticket = cast("Ticket | None", environ.get("pushgateway.ticket"))
    return ticket is not None and ticket.expired


def _key(environ: Environ, at_hand: Services) -> GroupingKey:
    # PEP 3333: the percent-decoded bytes of the path, each as the latin-1 character of the same number.
    return at_hand.keys[cast(str, environ["pushgateway.path"])]


def _apply(at_hand: Services, environ: Environ, prepared: _Prepared) -> None:
    """Apply what was prepared, then refuse what is to be refused.

    Raises:
        InconsistentPushError: The push is refused, here or by the store; the failure time is stored.
        WouldBlockError: Another writer is at work, or there are many families, and the caller asked not to wait.
        StoreError: The store cannot take a push that is in order.
    """
    if environ.get("pushgateway.ticket", at_hand) is None and _family_count(prepared.change) > _INLINE_FAMILIES:
        raise WouldBlockError("the push has many families to store")
    try:
        at_hand.apply(prepared.change, environ)
    except WouldBlockError:
        raise
    except StoreError as error:
        if prepared.refused is None:
            raise
        # The push is wrong whatever the state of the store, and a retry would be told the same: 400, not 503.
        _log.warning("failure time of a refused push not stored", group=str(prepared.change.key), err=error.reason)
    if prepared.refused is not None:
        raise prepared.refused


def _note_push(at_hand: Services, environ: Environ, status: int, change: Push | Refusal | Delete) -> None:
    """Tell the board of activity what was stored, and at level debug the log."""
    if not isinstance(change, Push):
        return
    body_bytes = int(cast(str, environ.get("CONTENT_LENGTH") or 0))
    at_hand.activity.note_push(
        change.key,
        at_seconds=at_hand.clock(),
        duration_seconds=seconds_since_begin(environ),
        body_bytes=body_bytes,
        families=change.families,
    )
    if at_hand.diagnosis.wants_done():
        at_hand.diagnosis.note_done(
            environ,
            status,
            "metrics persisted",
            bytes=body_bytes,
            families=len(change.families),
            samples=sum(family.samples for family in change.families),
        )


def _size_bytes(environ: Environ) -> int:
    """Return about how large the request was: request line, headers, and the body as sent."""
    length = str(environ.get("CONTENT_LENGTH", ""))
    size = len(str(environ["PATH_INFO"])) + (int(length) if length.isdecimal() else 0)
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            size += len(name) + len(cast(str, value))
    return size
