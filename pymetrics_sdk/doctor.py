"""Why do pushes from here not arrive: `pymetrics doctor`?"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from pymetrics_sdk.environment import Settings
from pymetrics_sdk.errors import PymetricsError
from pymetrics_sdk.grouping import GroupingKey
from pymetrics_sdk.push import Client
from pymetrics_sdk.target import Target
from pymetrics_sdk.transport import Deadline

__all__ = ["examine"]

Say = Callable[[str], None]
MAX_STATUS_BYTES = 64 * 1024


def examine(target: Target, *, say: Say = print) -> bool:
    """Go the way of a push step by step, and say what happens at each.

    Args:
        target: Where a job here would push to. The test push goes to a group of its own and is deleted.
        say: Takes one line.

    Returns:
        Whether a push from here arrives.
    """
    settings = target.settings
    say(f"gateway   {settings.gateway_url}, {_auth(settings)}, total deadline {settings.timeout_seconds:g} s")
    say(f"group     {target.key}")
    for problem in settings.problems:
        say(f"settings  ignored: {problem}")
    if settings.disabled:
        say("settings  PYMETRICS_DISABLED is set: jobs push nothing")
    proxy = next(
        (name for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy") if os.environ.get(name)), ""
    )
    if proxy:
        say(f"proxy     {proxy} is set: pushes go through it unless NO_PROXY names the gateway")
    elif not _reaches(settings, say):
        return False
    client = Client(settings)
    try:
        return _pushes(client, settings, say)
    finally:
        client.close()


def _auth(settings: Settings) -> str:
    if settings.token_file or settings.token:
        return f"bearer token from {settings.token_file or 'PYMETRICS_TOKEN'}"
    return f"basic auth as {settings.username}" if settings.username else "no credentials"


def _reaches(settings: Settings, say: Say) -> bool:
    parts = urlsplit(settings.gateway_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        addresses = sorted({str(each[4][0]) for each in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)})
    except OSError as error:
        say(f"resolve   FAILED: {host}: {error}")
        return False
    say(f"resolve   {host} is {', '.join(addresses)}")
    started = time.monotonic()
    try:
        socket.create_connection((host, port), timeout=settings.timeout_seconds).close()
    except OSError as error:
        say(f"connect   FAILED: {host} port {port}: {error}")
        return False
    say(f"connect   port {port} answers in {(time.monotonic() - started) * 1000:.0f} ms")
    return True


def _pushes(client: Client, settings: Settings, say: Say) -> bool:
    say(f"status    {_status(client, settings)}")
    # A group of its own: a push to the job's would look like a run.
    key = GroupingKey.of("pymetrics_doctor", {"probe": os.urandom(4).hex()})
    body = b"# TYPE pymetrics_doctor_probe gauge\npymetrics_doctor_probe 1\n"
    pushed = client.push(key, body, deadline=Deadline(settings.timeout_seconds))
    if not pushed.ok:
        say(f"push      FAILED after {pushed.attempts} attempts: {pushed.reason}")
        return False
    say(f"push      {pushed.status} for {key} in {pushed.seconds * 1000:.0f} ms")
    deleted = client.delete(key, deadline=Deadline(settings.timeout_seconds))
    if not deleted.ok:
        say(f"delete    FAILED: {deleted.reason}")
        return False
    say(f"delete    {deleted.status} in {deleted.seconds * 1000:.0f} ms")
    say("all well: pushes from here arrive")
    return True


def _status(client: Client, settings: Settings) -> str:
    try:
        response = client.get(
            "/api/v1/status", deadline=Deadline(settings.timeout_seconds), max_body_bytes=MAX_STATUS_BYTES
        )
        if response.status != 200:
            return f"{response.status}, which may be a proxy's answer"
        data = json.loads(response.body)["data"]
        extensions = ", ".join(data.get("extensions", [])) or "none"
        return f"gateway version {data['build_information']['version']}, extensions: {extensions}"
    except (PymetricsError, ValueError, KeyError, TypeError) as error:
        return f"unknown: {error}"
