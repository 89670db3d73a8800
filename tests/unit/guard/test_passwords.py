from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Awaitable, Callable, Coroutine

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.guard import passwords
from pushgateway.guard.passwords import BusyError, Credentials, Hasher

USERS = {b"alice": b"$2b$04$" + b"a" * 53, b"bob": b"$2b$06$" + b"b" * 53}
"""Not real hashes: `Script` compares in its own way."""


class Script:
    """Instead of bcrypt: keeps what it was asked, waits while the test holds it, and knows one password."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        """Compare."""
        self.go.wait(20)
        self.asked.append((password, hashed))
        return password == b"right"


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


async def ask(credentials: Credentials, authorization: bytes) -> bool:
    answer = credentials.check(authorization)
    return answer if isinstance(answer, bool) else await asyncio.shield(answer)


def run(talk: Callable[[Script, Hasher], Coroutine[None, None, None]]) -> None:
    """Run a conversation with a scripted hasher."""

    async def conversation() -> None:
        script = Script()
        hasher = Hasher(script)
        try:
            await asyncio.wait_for(talk(script, hasher), 20)
        finally:
            hasher.close()

    asyncio.run(conversation())


def test_right_is_remembered_and_wrong_is_not() -> None:
    """What was right once costs nothing any more; what was wrong costs a comparison each time."""

    async def talk(script: Script, hasher: Hasher) -> None:
        credentials = Credentials(USERS, hasher)
        assert await ask(credentials, basic("alice", "right"))
        assert credentials.check(basic("alice", "right")) is True
        assert len(script.asked) == 1
        for _ in range(2):
            assert not await ask(credentials, basic("alice", "wrong"))
        assert len(script.asked) == 3

    run(talk)


def test_unknown_user() -> None:
    """A user who does not exist costs what one who does costs, the same in every worker, and is wrong."""

    async def talk(script: Script, hasher: Hasher) -> None:
        worker, other_worker = Credentials(USERS, hasher), Credentials(USERS, hasher)
        names = [f"user{number}" for number in range(50)]
        for credentials in (worker, other_worker):
            for name in names:
                assert not await ask(credentials, basic(name, "right"))
        hashes = [hashed for _, hashed in script.asked]
        costs = [int(hashed[4:6]) for hashed in hashes]
        assert costs[:50] == costs[50:]
        assert set(costs) == {4, 6}
        assert not set(hashes) & set(USERS.values())

    run(talk)


def test_decoys_are_real_hashes() -> None:
    """Bcrypt takes the time of its cost for a decoy: it is well formed, and belongs to no password."""

    async def talk(_script: Script, hasher: Hasher) -> None:
        credentials = Credentials(USERS, hasher)
        assert not bcrypt.checkpw(b"right", credentials._decoy(b"nobody"))

    run(talk)


def test_thread_outlives_whatever_happens_in_it() -> None:
    """If a comparison fails, nobody is let in for that, and the next is made."""
    problems = [MemoryError(), ValueError()]

    def compare(password: bytes, hashed: bytes) -> bool:
        if problems:
            raise problems.pop()
        return True

    async def talk() -> None:
        hasher = Hasher(compare)
        credentials = Credentials(USERS, hasher)
        assert [await ask(credentials, basic("alice", "right")) for _ in range(3)] == [False, False, True]
        hasher.close()

    asyncio.run(asyncio.wait_for(talk(), 20))


def test_same_attempts_are_compared_once() -> None:
    """Who asks the same at the same time shares one comparison."""

    async def talk(script: Script, hasher: Hasher) -> None:
        credentials = Credentials(USERS, hasher)
        script.go.clear()
        asking: list[Awaitable[bool]] = [
            asyncio.ensure_future(ask(credentials, basic("alice", "right"))) for _ in range(20)
        ]
        await asyncio.sleep(0)
        script.go.set()
        assert await asyncio.gather(*asking) == [True] * 20
        assert len(script.asked) == 1

    run(talk)


def test_whoever_goes_away_takes_nobody_along() -> None:
    """One of those who share a comparison may be cancelled; the others get their answer."""

    async def talk(script: Script, hasher: Hasher) -> None:
        credentials = Credentials(USERS, hasher)
        script.go.clear()
        first, second = (asyncio.ensure_future(ask(credentials, basic("alice", "right"))) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        script.go.set()
        assert await second

    run(talk)


def test_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many different attempts wait, the next one is told so; what is remembered still comes in."""
    monkeypatch.setattr(passwords, "_WAITING", 3)

    async def talk(script: Script, hasher: Hasher) -> None:
        credentials = Credentials(USERS, hasher)
        assert await ask(credentials, basic("alice", "right"))
        script.go.clear()
        waiting = [asyncio.ensure_future(ask(credentials, basic("bob", str(number)))) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            credentials.check(basic("bob", "more"))
        assert credentials.check(basic("alice", "right")) is True
        script.go.set()
        assert await asyncio.gather(*waiting) == [False] * 3
        assert not await ask(credentials, basic("bob", "more"))

    run(talk)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not used for longest is forgotten first."""
    monkeypatch.setattr(passwords, "_REMEMBERED", 2)

    async def talk(script: Script, hasher: Hasher) -> None:
        credentials = Credentials({b"a": USERS[b"bob"], b"b": USERS[b"bob"], b"c": USERS[b"bob"]}, hasher)
        for user in ("a", "b", "a", "c"):
            assert await ask(credentials, basic(user, "right"))
        assert len(script.asked) == 3
        assert credentials.check(basic("a", "right")) is True
        assert await ask(credentials, basic("b", "right"))
        assert len(script.asked) == 4

    run(talk)


def test_memory_holds_no_password() -> None:
    """What is remembered is a keyed hash; neither the password nor the header can be read from it."""

    async def talk(_script: Script, hasher: Hasher) -> None:
        credentials = Credentials(USERS, hasher)
        assert await ask(credentials, basic("alice", "right"))
        other = Credentials(USERS, hasher)
        assert await ask(other, basic("alice", "right"))
        assert all(len(digest) == 32 for digest in credentials._right)
        assert set(credentials._right).isdisjoint(other._right)

    run(talk)


@pytest.mark.parametrize(
    "authorization",
    [
        b"",
        b"Basic",
        b"Basic ",
        b"Bearer YWxpY2U6cmlnaHQ=",
        b"Basic YWxpY2U6cmlnaHQ",
        b"Basic YWxpY2U6cmlnaHQ=!",
        b"Basic " + base64.b64encode(b"alice"),
        b"Basic alice:right",
    ],
)
def test_no_credentials(authorization: bytes) -> None:
    """What names no user and password is refused without a comparison."""

    async def talk(script: Script, hasher: Hasher) -> None:
        assert Credentials(USERS, hasher).check(authorization) is False
        assert not script.asked

    run(talk)


@pytest.mark.parametrize("scheme", [b"basic", b"BASIC", b"Basic"])
def test_scheme_in_any_case(scheme: bytes) -> None:
    """The scheme's case does not matter (RFC 7617, 2); the password may hold colons and any byte."""

    async def talk(script: Script, hasher: Hasher) -> None:
        await ask(Credentials(USERS, hasher), scheme + b" " + base64.b64encode(b"alice:a:\xff\0"))
        assert script.asked == [(b"a:\xff\0", USERS[b"alice"])]

    run(talk)


@pytest.mark.parametrize("prefix", [b"$2a$", b"$2b$", b"$2y$"])
def test_real_hashes(prefix: bytes) -> None:
    """Bcrypt itself agrees, with each prefix, and of a password 72 bytes count."""

    async def talk() -> None:
        hashed = prefix + bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))[4:]
        hasher = Hasher()
        credentials = Credentials({b"alice": hashed}, hasher)
        assert await ask(credentials, basic("alice", "x" * 72))
        assert await ask(credentials, basic("alice", "x" * 100))
        assert not await ask(credentials, basic("alice", "x" * 71))
        hasher.close()

    asyncio.run(asyncio.wait_for(talk(), 20))


@given(st.binary(max_size=100))
def test_any_header(authorization: bytes) -> None:
    """Whatever the header holds, there is an answer."""

    async def talk(_script: Script, hasher: Hasher) -> None:
        credentials = Credentials(USERS, hasher)
        assert not await ask(credentials, authorization)
        assert not await ask(credentials, b"Basic " + base64.b64encode(authorization))

    run(talk)
