"""May this request come in, and which headers does every answer get?

The guard stands before the application, and before the body of a request is asked for: whoever may not come in is told
so with nothing of theirs in memory but the headers, and what of a body came with them, 64 KiB and a read at most. It is
asked on the event loop and never waits there: bcrypt has a thread of its own (`passwords`), and the rate limit is a
number in memory that all workers share (`throttle`). `origins` keeps pages of other sites from changing anything, also
without a web configuration. It is handed a `Source` and reads no file.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from pushgateway.guard.origins import Origins
from pushgateway.guard.passwords import BusyError, Credentials, Hasher
from pushgateway.guard.throttle import Throttle

if TYPE_CHECKING:
    # Not at run time: it brings yaml, and most gateways have no such file.
    from pushgateway.webconfig import Loaded, Source

__all__ = ["Guard", "Origins", "Throttle", "Verdict"]

_Fields: TypeAlias = Sequence[tuple[bytes, bytes]]


class Verdict(enum.Enum):
    """What becomes of a request."""

    ADMITTED = "admitted"
    UNAUTHORIZED = "unauthorized"
    THROTTLED = "throttled"
    BUSY = "busy"


class Guard:
    """The guard of one worker; make it after the fork, since it starts a thread.

    Args:
        source: The web configuration that holds.
        throttle: The bucket that all workers share.
    """

    def __init__(self, source: Source, throttle: Throttle) -> None:
        self._source = source
        self._throttle = throttle
        self._hasher = Hasher()
        self._adopt(source.current)

    def close(self) -> None:
        """Let the thread end after what is queued; does not wait for it."""
        self._hasher.close()

    async def admit(self, headers: Iterable[tuple[bytes, bytes]]) -> Verdict:
        """Decide on a request.

        Args:
            headers: Its headers, names in lower case.
        """
        if self._source.current is not self._loaded:
            self._adopt(self._source.current)
        if self._rate_limit is not None and not self._throttle.allow(self._rate_limit):
            return Verdict.THROTTLED
        if self._credentials is None:
            return Verdict.ADMITTED
        authorization = next((value for name, value in headers if name == b"authorization"), b"")
        try:
            right = self._credentials.check(authorization)
        except BusyError:
            return Verdict.BUSY
        if not isinstance(right, bool):
            right = await asyncio.shield(right)
        return Verdict.ADMITTED if right else Verdict.UNAUTHORIZED

    def dress(self, fields: _Fields) -> _Fields:
        """Return the headers of an answer with the configured ones, each in the place of one of its name.

        Args:
            fields: Names in lower case, and values.
        """
        if self._source.current is not self._loaded:
            self._adopt(self._source.current)
        if not self._headers:
            return fields
        return [*(field for field in fields if field[0] not in self._names), *self._headers]

    def _adopt(self, loaded: Loaded) -> None:
        config = loaded.config
        self._loaded = loaded
        self._rate_limit = config.rate_limit
        self._credentials = Credentials(config.users, self._hasher) if config.users else None
        self._headers = [(name.lower().encode(), value.encode()) for name, value in config.headers]
        self._names = {name for name, _ in self._headers}
