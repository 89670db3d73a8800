"""Is this the password of that user, and how is that found out without keeping anybody waiting?

bcrypt takes 50 to 500 ms of a processor by design, so it runs in one thread of each worker that does nothing else. What
was right once is remembered, under a keyed hash and never as a password, so that only the first request of a client
pays. A user who does not exist costs what one who does costs, and nothing that is wrong is remembered: neither says
whether a name exists.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import functools
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from typing import Final

import bcrypt

from pushgateway.loglines import Log

__all__ = ["BusyError", "Credentials", "Hasher"]

_log = Log(__name__)

_REMEMBERED: Final = 1024
"""Right answers that one worker keeps; some 200 bytes each."""

_WAITING: Final = 64
"""Different attempts that may wait for the thread: 4 to 30 s of work."""

_SIGNIFICANT_BYTES: Final = 72
"""bcrypt looks at no more of a password; Go's and Apache's cut it off in silence, and Python's wants us to."""


class BusyError(Exception):
    """So many attempts wait that one more would wait for too long."""


class Hasher:
    """The thread that runs bcrypt.

    Args:
        check: Returns whether a password belongs to a hash.
    """

    def __init__(self, check: Callable[[bytes, bytes], bool] = bcrypt.checkpw) -> None:
        self._check = check
        self._jobs: SimpleQueue[tuple[bytes, bytes, bool, asyncio.Future[bool]] | None] = SimpleQueue()
        self._unfinished = 0  # changed on the loop only
        threading.Thread(target=self._work, name="bcrypt", daemon=True).start()

    def submit(self, password: bytes, hashed: bytes, *, genuine: bool) -> asyncio.Future[bool]:
        """Compare in the thread, first come first served.

        Args:
            password: What a client sent.
            hashed: A bcrypt hash.
            genuine: False for a decoy, to which no password is right.

        Raises:
            BusyError: Too many wait.
        """
        if self._unfinished >= _WAITING:
            raise BusyError
        self._unfinished += 1
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(self._finished)
        self._jobs.put((password[:_SIGNIFICANT_BYTES], hashed, genuine, answer))
        return answer

    def close(self) -> None:
        """Let the thread end after what is queued; does not wait for it."""
        self._jobs.put(None)

    def _finished(self, _: asyncio.Future[bool]) -> None:
        self._unfinished -= 1

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            password, hashed, genuine, answer = job
            try:
                right = self._check(password, hashed) and genuine
            except Exception as error:
                right = False
                # ValueError: a password that no hash can belong to. Whatever else it is, such as memory that is short
                # for a moment, the thread is to be there for the next.
                if not isinstance(error, ValueError):
                    _log.exception("password not checked")
            # RuntimeError: the loop is closed, so that nobody waits for the answer.
            with contextlib.suppress(RuntimeError):
                answer.get_loop().call_soon_threadsafe(_deliver, answer, right)
            del job, password, answer


def _deliver(answer: asyncio.Future[bool], right: bool) -> None:
    if not answer.done():
        answer.set_result(right)


class Credentials:
    """The users of one web configuration; a new configuration gets new ones, which remember nothing.

    Args:
        users: bcrypt hashes by user name.
        hasher: Who compares.
        secret: The key of the hashes under which right answers are remembered.
    """

    def __init__(self, users: Mapping[bytes, bytes], hasher: Hasher, *, secret: bytes | None = None) -> None:
        self._users = users
        self._hasher = hasher
        self._secret = os.urandom(32) if secret is None else secret
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._pending: dict[bytes, asyncio.Future[bool]] = {}
        # One for each user: an unknown name then costs what some known one costs, always the same for a name.
        costs = sorted(int(hashed[4:6]) for hashed in users.values())
        self._decoys = [bcrypt.gensalt(cost) + b"." * 31 for cost in costs]
        # The same in every worker and after every start: a cost that changed would tell that it is a decoy's.
        self._choice = hashlib.blake2b(b"".join(sorted(users.values()))).digest()

    def check(self, authorization: bytes) -> bool | asyncio.Future[bool]:
        """Say whether a request's Authorization names a user and its password.

        Args:
            authorization: The header's value; b"" if there is none.

        Returns:
            The answer, or a future that is shared by all who ask the same: shield it before awaiting.

        Raises:
            BusyError: Too many other attempts wait.
        """
        digest = hashlib.blake2b(authorization, key=self._secret, digest_size=32).digest()
        if digest in self._right:
            self._right.move_to_end(digest)
            return True
        if (pending := self._pending.get(digest)) is not None:
            return pending
        found = _parse(authorization)
        if found is None:
            return False
        user, password = found
        hashed = self._users.get(user)
        answer = self._hasher.submit(password, hashed or self._decoy(user), genuine=hashed is not None)
        self._pending[digest] = answer
        answer.add_done_callback(functools.partial(self._remember, digest))
        return answer

    def _decoy(self, user: bytes) -> bytes:
        digest = hashlib.blake2b(user, key=self._choice, digest_size=8).digest()
        return self._decoys[int.from_bytes(digest, "big") % len(self._decoys)]

    def _remember(self, digest: bytes, answer: asyncio.Future[bool]) -> None:
        self._pending.pop(digest, None)
        if not answer.cancelled() and answer.result():
            self._right[digest] = None
            if len(self._right) > _REMEMBERED:
                self._right.popitem(last=False)


def _parse(authorization: bytes) -> tuple[bytes, bytes] | None:
    """Return user and password (RFC 7617), None if that is not what it is."""
    scheme, _, rest = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(rest.strip(), validate=True).partition(b":")
    except binascii.Error:
        return None
    return (user, password) if colon else None
