from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from pathlib import Path

import bcrypt

from pushgateway.guard import Guard, Throttle, Verdict
from pushgateway.webconfig import Source

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
ALICE = [(b"host", b"x"), (b"authorization", b"Basic " + base64.b64encode(b"alice:secret"))]
FIELDS = [(b"content-type", b"text/html"), (b"x-frame-options", b"sameorigin")]


def guarded(path: Path, text: str, talk: Callable[[Guard, Source], Coroutine[None, None, None]]) -> None:
    """Speak to the guard of a configuration."""

    async def conversation() -> None:
        path.write_text(text)
        source = Source(str(path))
        guard = Guard(source, Throttle(lambda: 1000.0))
        try:
            await asyncio.wait_for(talk(guard, source), 20)
        finally:
            guard.close()

    asyncio.run(conversation())


def test_nothing_configured(tmp_path: Path) -> None:
    """An empty configuration lets everybody in and changes no answer."""

    async def talk(guard: Guard, _source: Source) -> None:
        assert await guard.admit([]) is Verdict.ADMITTED
        assert guard.dress(FIELDS) is FIELDS

    guarded(tmp_path / "w", "", talk)


def test_users(tmp_path: Path) -> None:
    """With users, only those with a password come in; of two headers the first counts."""

    async def talk(guard: Guard, _source: Source) -> None:
        assert await guard.admit([]) is Verdict.UNAUTHORIZED
        assert await guard.admit(ALICE) is Verdict.ADMITTED
        assert await guard.admit([(b"authorization", b"Basic x"), *ALICE]) is Verdict.UNAUTHORIZED

    guarded(tmp_path / "w", f"basic_auth_users: {{alice: {HASH}}}", talk)


def test_rate_before_password(tmp_path: Path) -> None:
    """A request beyond the rate is refused before its password is looked at."""

    async def talk(guard: Guard, _source: Source) -> None:
        assert await guard.admit([]) is Verdict.UNAUTHORIZED
        assert await guard.admit(ALICE) is Verdict.THROTTLED

    guarded(tmp_path / "w", f"basic_auth_users: {{alice: {HASH}}}\nrate_limit: {{interval: 1h, burst: 1}}\n", talk)


def test_configured_headers_win(tmp_path: Path) -> None:
    """A configured header takes the place of one that the answer has already."""

    async def talk(guard: Guard, _source: Source) -> None:
        assert guard.dress(FIELDS) == [
            (b"content-type", b"text/html"),
            (b"x-frame-options", b"deny"),
            (b"strict-transport-security", b"max-age=1"),
        ]

    text = "http_server_config: {headers: {X-Frame-Options: deny, Strict-Transport-Security: max-age=1}}"
    guarded(tmp_path / "w", text, talk)


def test_another_configuration(tmp_path: Path) -> None:
    """As soon as its source has another configuration, users, memory and headers are those of the new one."""

    async def talk(guard: Guard, source: Source) -> None:
        assert await guard.admit(ALICE) is Verdict.ADMITTED
        other = bcrypt.hashpw(b"other", bcrypt.gensalt(4)).decode()
        (tmp_path / "new").write_text(f"basic_auth_users: {{alice: {other}}}")
        (tmp_path / "new").replace(tmp_path / "w")
        assert source.refresh()
        assert await guard.admit(ALICE) is Verdict.UNAUTHORIZED
        (tmp_path / "new").write_text("http_server_config: {headers: {X-Frame-Options: deny}}")
        (tmp_path / "new").replace(tmp_path / "w")
        assert source.refresh()
        assert (b"x-frame-options", b"deny") in guard.dress(FIELDS)
        assert await guard.admit([]) is Verdict.ADMITTED

    guarded(tmp_path / "w", f"basic_auth_users: {{alice: {HASH}}}", talk)
