"""How does a push get to the gateway, or end with a clear reason, before its deadline?"""

from __future__ import annotations

import dataclasses
import gzip
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from pymetrics_sdk.environment import Settings
from pymetrics_sdk.errors import ConfigError, DeadlineError, PushError, TransportError
from pymetrics_sdk.grouping import GroupingKey
from pymetrics_sdk.transport import MAX_REASON_BYTES, Deadline, Request, Response, Transport, open_transport

__all__ = ["Client", "Outcome"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
GZIP_ABOVE_BYTES = 1024
"""Below this a compressed body saves no packet."""
FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 2.0
"""Full jitter: each wait is a random part of min(0.1 s * 2^n, 2 s), so that a thousand jobs that lost the same gateway
do not come back in step."""
_USERINFO = re.compile(r"//[^/\s]*@")
RETRIED = frozenset({408, 425, 429, *range(500, 600)})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a push ended.

    Args:
        ok: Whether the gateway took it.
        reason: "" if it did, else one sentence without credentials.
        status: The last HTTP status; None if no answer came.
        attempts: Requests sent.
        seconds: How long it took.
        final: Whether trying again cannot help.
    """

    ok: bool
    reason: str = ""
    status: int | None = None
    attempts: int = 0
    seconds: float = 0.0
    final: bool = False

    def check(self) -> None:
        """Return if the gateway took the push.

        Raises:
            PushError: It did not.
        """
        if not self.ok:
            raise PushError(self.reason, status=self.status, attempts=self.attempts)


def _sleep(seconds: float, deadline: Deadline) -> None:
    """Wait, in steps short enough to notice that another thread shortened or cancelled the deadline."""
    until = time.monotonic() + seconds
    while (left := min(until - time.monotonic(), deadline.remaining())) > 0:
        time.sleep(min(left, 0.05))


class Client:
    """Pushes to one gateway.

    Args:
        settings: Where and how; `gateway_url` must not be empty.
        clock: Monotonic seconds.
        sleep: Waits for a number of seconds or until the deadline is over.
        jitter: Returns a number between 0 and 1.
        on_attempt: Called after each request with how it ended (``ok``, ``refused``, ``retried`` or ``unreachable``)
            and its duration in seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float, Deadline], None] = _sleep,
        jitter: Callable[[], float] = random.random,
        on_attempt: Callable[[str, float], None] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._on_attempt = on_attempt or (lambda result, seconds: None)
        self._transport: Transport | None = None

    def push(
        self,
        key: GroupingKey,
        body: bytes,
        *,
        deadline: Deadline,
        replace: bool = False,
        headers: Mapping[str, str] | None = None,
        fallback: bytes = b"",
    ) -> Outcome:
        """Send metrics of a group.

        Args:
            key: The group.
            body: In the text format 0.0.4.
            deadline: By when it must be over.
            replace: PUT, which drops everything else in the group, in place of POST, which keeps the families that this
                body does not have.
            headers: Further headers.
            fallback: What to send once if the gateway refuses the body for what is in it (400): the part of it that is
                known to be good. The outcome is a failure all the same, with the gateway's reason.
        """
        request = Request(
            "PUT" if replace else "POST",
            self._settings.gateway_url + key.path(),
            {"Content-Type": CONTENT_TYPE, **(headers or {})},
            body,
        )
        outcome = self._until_done(request, deadline)
        if outcome.status != 400 or not fallback or fallback == body:
            return outcome
        # Plain, so that this is one request whatever the gateway thinks of gzip.
        rescue = self._until_done(dataclasses.replace(request, body=fallback), deadline, plain_only=True)
        rescued = "; the run itself was pushed, without the job's own metrics" if rescue.ok else ""
        return dataclasses.replace(
            outcome,
            reason=outcome.reason + rescued,
            attempts=outcome.attempts + rescue.attempts,
            seconds=outcome.seconds + rescue.seconds,
        )

    def delete(self, key: GroupingKey, *, deadline: Deadline) -> Outcome:
        """Delete a group."""
        return self._until_done(Request("DELETE", self._settings.gateway_url + key.path()), deadline)

    def get(
        self, path: str, *, deadline: Deadline, max_body_bytes: int, take: Callable[[bytes], bool] | None = None
    ) -> Response:
        """Read something from the gateway, once.

        Args:
            path: From the gateway's URL on.
            deadline: By when it must be over.
            max_body_bytes: How much of the answer is wanted.
            take: Gets the answer piece by piece; see `Request`.

        Raises:
            TransportError: No answer came.
            ConfigError: The settings cannot be used.
        """
        request = Request("GET", self._settings.gateway_url + path, max_body_bytes=max_body_bytes, take=take)
        return self._open().send(request, deadline)

    def close(self) -> None:
        """Close kept connections."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _open(self) -> Transport:
        if self._transport is None:
            self._transport = open_transport(self._settings)
        return self._transport

    def _until_done(self, request: Request, deadline: Deadline, *, plain_only: bool = False) -> Outcome:
        started = self._clock()
        attempts = 0
        outcome = Outcome(ok=False, reason="the push deadline has passed")
        while deadline.remaining() > 0:
            attempts += 1
            compressed = request if plain_only else _compress(request)
            before = outcome if attempts > 1 else None
            outcome, retry_after = self._attempt(compressed, deadline, before)
            if outcome.ok:
                break
            if outcome.status == 400 and compressed is not request:
                # A proxy or gateway that does not know gzip reads the compressed bytes as text. Once more, plain.
                plain_only = True
                continue
            if outcome.final:
                break
            delay = self._delay(attempts, retry_after)
            if delay >= deadline.remaining():
                break
            self._sleep(delay, deadline)
        return dataclasses.replace(outcome, attempts=attempts, seconds=self._clock() - started)

    def _attempt(self, request: Request, deadline: Deadline, before: Outcome | None) -> tuple[Outcome, float | None]:
        started = self._clock()
        try:
            response = self._open().send(request, deadline)
        except TransportError as error:
            self._on_attempt("unreachable", self._clock() - started)
            if before is not None and isinstance(error, DeadlineError):
                return before, None  # "Connection refused" says more than that the time for another attempt was short
            return Outcome(ok=False, reason=f"{self._settings.gateway_url} cannot be reached: {error}"), None
        except ConfigError as error:
            return Outcome(ok=False, reason=str(error), final=True), None
        outcome = judge(response)
        result = "ok" if outcome.ok else "retried" if response.status in RETRIED else "refused"
        self._on_attempt(result, self._clock() - started)
        return outcome, _retry_after(response)

    def _delay(self, attempts: int, retry_after: float | None) -> float:
        """Return the seconds to wait before the next attempt."""
        # A float's power ends with an error somewhere above 1000 attempts.
        ceiling: float = min(FIRST_DELAY_SECONDS * 2.0 ** min(attempts - 1, 16), LONGEST_DELAY_SECONDS)
        # "Retry-After: 0" is no leave to come back at once, for as long as the deadline lasts.
        return max(retry_after or 0.0, ceiling * self._jitter())


def judge(response: Response) -> Outcome:
    """Say what an answer means for the push that it answers."""
    if 200 <= response.status < 300:
        return Outcome(ok=True, status=response.status, final=True)
    if 300 <= response.status < 400:
        location = _USERINFO.sub("//", response.headers.get("location", "nowhere"))
        reason = f"the gateway redirects to {location} ({response.status}); pushes follow no redirect: set that URL"
        return Outcome(ok=False, reason=reason, status=response.status, final=True)
    text = response.body[:MAX_REASON_BYTES].decode("utf-8", "replace").strip()
    return Outcome(
        ok=False,
        reason=f"the gateway answered {response.status}: {text or 'no reason given'}",
        status=response.status,
        final=response.status not in RETRIED,
    )


def _retry_after(response: Response) -> float | None:
    """Return the seconds that Retry-After asks for (RFC 9110, 10.2.3), None without a usable one."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _compress(request: Request) -> Request:
    if len(request.body) <= GZIP_ABOVE_BYTES:
        return request
    return Request(
        request.method,
        request.url,
        {**request.headers, "Content-Encoding": "gzip"},
        gzip.compress(request.body, compresslevel=5, mtime=0),
        request.max_body_bytes,
    )
