"""Who learns what became of a push: which line does the log get, and which record the list of failures?

Every push, delete or wipe that is not carried out leaves one line, whoever has refused it: a view, the bridge or the
protocol. `_EVENTS` is the one table of what these lines say, in the original's words where it has any, since people
search their logs for them. What is carried out leaves a line at level debug. Of other requests, failed scrapes and what
the bridge or the protocol refuses leave one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Final, NamedTuple, TypeAlias, cast

from pushgateway.activity import ActivityBoard
from pushgateway.config import Config
from pushgateway.errors import RequestError
from pushgateway.failures import Failure, FailureRing
from pushgateway.loglines import Log
from pushgateway.model import GroupingKey
from pushgateway.web.answers import INTERNAL, Refused
from pushgateway.web.environ import DELETES, PUSHES, WIPES, Environ, grouping_key, seconds_since_begin

__all__ = ["Diagnosis", "ExceptionInfo", "remember"]

ExceptionInfo: TypeAlias = "tuple[type, BaseException, TracebackType] | tuple[None, None, None]"

_log = Log(__name__)

_STRANGERS: Final = frozenset({"unauthorized", "throttled", "busy"})
"""What is answered to who has not shown a password yet, and who could fill the list of failures."""

_DATA: Final = ("line", "family", "limit", "allowed", "seen")
"""What errors know that a program may want to pick out; the rest stands in their reason."""


class _Event(NamedTuple):
    """How the line of a kind of refusal begins; `{}` is push, delete, wipe or request."""

    level: int
    text: str


_REFUSED: Final = "{} refused"
_NOT_STORED: Final = "{} not stored"

_EVENTS: Final[Mapping[str, _Event]] = {
    "inconsistent": _Event(logging.ERROR, "pushed metrics are invalid or inconsistent with existing metrics"),
    "parse": _Event(logging.ERROR, "failed to parse text"),
    # Anybody may try any URL: at a higher level scanners would fill the log.
    "grouping_key": _Event(logging.DEBUG, "failed to parse URL"),
    "not_found": _Event(logging.DEBUG, _REFUSED),
    "method_not_allowed": _Event(logging.DEBUG, _REFUSED),
    "limit": _Event(logging.WARNING, _REFUSED),
    "unauthorized": _Event(logging.DEBUG, _REFUSED),
    "throttled": _Event(logging.DEBUG, _REFUSED),
    "cross_site": _Event(logging.WARNING, _REFUSED),
    "busy": _Event(logging.WARNING, _REFUSED),
    "store_busy": _Event(logging.WARNING, _NOT_STORED),
    "store_unwritable": _Event(logging.ERROR, "error persisting metrics"),
    "store_unreadable": _Event(logging.ERROR, _NOT_STORED),
    "store": _Event(logging.ERROR, _NOT_STORED),
    INTERNAL: _Event(logging.ERROR, "unexpected error"),
}
"""By `errorType`."""

_OTHERWISE: Final = _Event(logging.ERROR, _REFUSED)
_MALFORMED: Final = _Event(logging.DEBUG, "request refused")

_JOB_NAME: Final = ("job name is required", "invalid base64 encoding in job name")
"""What the original says of a URL in place of "failed to parse URL"."""

_CHANGES: Final = {"PUT": "push", "POST": "push", "DELETE": "delete"}


class Diagnosis:
    """The log and the list of failures, as far as they are about requests.

    Args:
        ring: Takes the failures.
        activity: Counts them.
        config: The settings.
        clock: Returns the Unix time in seconds.
    """

    def __init__(
        self, *, ring: FailureRing, activity: ActivityBoard, config: Config, clock: Callable[[], float]
    ) -> None:
        self._ring = ring
        self._activity = activity
        self._config = config
        self._clock = clock
        self._prefix = _wsgi(config.route_prefix)
        self._scrapes = self._prefix + _wsgi(config.telemetry_path)
        self._helps: dict[str, Sequence[str]] = {}

    def note_outside(self, refused: Refused) -> None:
        """Note a request that was answered without the application; while its exception is handled, if there is one."""
        if not (refused.status or refused.path):
            _log.debug("connection ended", source=_address(refused.source), reason=refused.reason)
            return
        what, key = self._about(refused)
        self._write(refused, what, key, exc_info=refused.kind == INTERNAL)
        self._record(refused, what, key)

    def note_refusal(self, environ: Environ, status: int) -> None:
        """Note an error that the application has answered.

        Args:
            environ: The request, with what `remember` has put there.
            status: The HTTP status.
        """
        refused = _refused(environ, status)
        what, key = self._about(refused)
        if what == "request" or (what == "scrape" and status < 500):
            return
        # What is unexpected has been written with its traceback.
        if refused.kind != INTERNAL:
            self._write(refused, what, key)
        self._record(refused, what, key)

    def note_unexpected(self, environ: Environ, exc_info: ExceptionInfo) -> None:
        """Note an exception that nobody foresaw, which is about to be answered 500."""
        refused = _refused(environ, 500)._replace(kind=INTERNAL, reason=str(exc_info[1]))
        self._write(refused, *self._about(refused), exc_info=exc_info)

    def note_done(self, environ: Environ, status: int, event: str, **details: object) -> None:
        """Note, at level debug, a change that was carried out.

        Args:
            environ: The request.
            status: The HTTP status.
            event: How the line begins.
            details: What else it says.
        """
        request = _refused(environ, status)
        _, key = self._about(request)
        _log.debug(event, **_told(request, key), **details)

    def note_helps(self, *, inconsistent: Sequence[str], overlapping: Sequence[str]) -> None:
        """Note, when it changes, which families have not one help text.

        The original says so at every scrape, and for each family.

        Args:
            inconsistent: Families about whose help their groups disagree.
            overlapping: Families of the gateway's own that were pushed with another help.
        """
        found = {
            "metric families inconsistent help strings": inconsistent,
            "metric families overlap": overlapping,
        }
        for event, names in found.items():
            if names and names != self._helps.get(event):
                _log.info(event, families=",".join(names))
        self._helps = found

    @staticmethod
    def wants_done() -> bool:
        """Return whether `note_done` would write anything. Asking takes 0.1 us."""
        return _log.wants(logging.DEBUG)

    def _about(self, refused: Refused) -> tuple[str, GroupingKey | None]:
        """Return which kind of request it is, and which group it is about if its path names one."""
        change = _CHANGES.get(refused.method)
        if change is None:
            return "scrape" if refused.path == self._scrapes else "request", None
        path = refused.path.removeprefix(self._prefix)
        if path in WIPES:
            return "wipe", None
        if path == DELETES:
            return "delete", None
        if path != PUSHES.rstrip("/") and not path.startswith(PUSHES):
            return "request", None
        try:
            return change, grouping_key(path, self._config)
        except RequestError:
            return change, None

    def _write(
        self, refused: Refused, what: str, key: GroupingKey | None, *, exc_info: ExceptionInfo | bool = False
    ) -> None:
        event = _event(refused, what)
        if not _log.wants(event.level):
            return
        _log.log(
            event.level,
            event.text,
            exc_info=exc_info,
            **_told(refused, key),
            reason=_reason(refused),
            **_data(refused),
        )

    def _record(self, refused: Refused, what: str, key: GroupingKey | None) -> None:
        # Whoever may not push has not pushed.
        if what not in _CHANGES.values() or refused.kind in _STRANGERS:
            return
        now = self._clock()
        self._activity.note_refusal(now)
        self._ring.record(
            Failure(
                at_seconds=now,
                group=None if key is None else key.labels,
                path=_readable(refused.path),
                method=refused.method,
                source=_address(refused.source),
                status=refused.status,
                kind=refused.kind,
                reason=_reason(refused),
                data=_data(refused),
            )
        )


def remember(environ: Environ, *, kind: str, reason: str, data: Mapping[str, object] | None) -> None:
    """Keep what the client is told is wrong for `Diagnosis.note_refusal`.

    Args:
        environ: The request.
        kind: `errorType` in JSON.
        reason: What is wrong.
        data: What JSON tells beside that.
    """
    environ["pushgateway.refusal"] = kind, reason, data or {}


def _refused(environ: Environ, status: int) -> Refused:
    kind, reason, data = cast(
        "tuple[str, str, Mapping[str, object]]", environ.get("pushgateway.refusal", ("request", "", {}))
    )
    return Refused(
        method=cast(str, environ["REQUEST_METHOD"]),
        path=cast(str, environ["PATH_INFO"]),
        status=status,
        kind=kind,
        reason=reason,
        source=cast(str, environ.get("REMOTE_ADDR", "")),
        data=data,
        duration_seconds=seconds_since_begin(environ),
    )


def _event(refused: Refused, what: str) -> _Event:
    if what == "scrape" and refused.status >= 500 and refused.kind != INTERNAL:
        return _Event(logging.ERROR, f"error gathering metrics: {_reason(refused)}")
    if refused.kind == "request" and what == "request":
        return _MALFORMED
    event = _EVENTS.get(refused.kind, _OTHERWISE)
    text = event.text.format(what)
    if refused.kind == "grouping_key":
        text = next((said for said in _JOB_NAME if refused.reason.startswith(said)), text)
    return event._replace(text=text)


def _told(refused: Refused, key: GroupingKey | None) -> dict[str, object]:
    place = {"path": _readable(refused.path)} if key is None else {"group": str(key)}
    return {
        "method": refused.method,
        **place,
        "source": _address(refused.source),
        "status": refused.status,
        "duration": round(refused.duration_seconds, 6),
    }


def _reason(refused: Refused) -> str:
    # Several findings are lines of the answer, and what they have in common is told already.
    reasons = cast("tuple[str, ...]", refused.data.get("reasons", ()))
    return "; ".join(reasons) or refused.reason


def _data(refused: Refused) -> dict[str, str | float]:
    found = {name: refused.data.get(name) for name in _DATA}
    return {name: value for name, value in found.items() if isinstance(value, (str, int, float))}


def _readable(path: str) -> str:
    return path.encode("latin-1", "replace").decode(errors="backslashreplace")


def _address(source: str) -> str:
    """Return an address as IPv4 where it is one: on a socket for both protocols, it comes as ::ffff:192.0.2.1."""
    return source.removeprefix("::ffff:")


def _wsgi(path: str) -> str:
    return path.encode().decode("latin-1")
