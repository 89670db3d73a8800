"""How are the calls of the requests library measured?

At `HTTPAdapter.send`, which is called exactly once a hop: a redirect followed is two requests, not one and not three.
The time runs to the end of the response's body, as its reader sees it.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import weakref
from typing import Any

from pymetrics_sdk.instrumentation.http import ClientCall, is_suppressed, suppressed

__all__ = ["instrument", "is_available", "is_instrumented", "uninstrument"]

_ORIGINAL = "_pymetrics_original"


def is_available() -> bool:
    """Whether the library is installed."""
    return importlib.util.find_spec("requests") is not None


def is_instrumented() -> bool:
    """Whether its calls are measured."""
    return "requests.adapters" in sys.modules and hasattr(_adapter_class().send, _ORIGINAL)


def instrument() -> None:
    """Measure all its calls from now on; a second call changes nothing."""
    adapter = _adapter_class()
    if not hasattr(adapter.send, _ORIGINAL):
        adapter.send = _measured(adapter.send)


def uninstrument() -> None:
    """Leave the library as it was."""
    if "requests.adapters" in sys.modules:
        adapter = _adapter_class()
        adapter.send = getattr(adapter.send, _ORIGINAL, adapter.send)


def _adapter_class() -> Any:
    return importlib.import_module("requests.adapters").HTTPAdapter


def _measured(original: Any) -> Any:
    @functools.wraps(original)
    def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        # The SDK's own pushes go through a marked adapter, so that pushing does not count itself.
        if is_suppressed() or getattr(self, "pymetrics_own", False):
            return original(self, request, *args, **kwargs)
        call = ClientCall(request.method or "", request.url or "")
        call.begin()
        try:
            with suppressed():
                response = original(self, request, *args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        call.status = response.status_code
        _end_with_body(response, call)
        return response

    setattr(send, _ORIGINAL, original)
    return send


def _end_with_body(response: Any, call: ClientCall) -> None:
    """End the call when the body has been read, closed or thrown away."""
    raw = response.raw
    if not hasattr(raw, "release_conn") or _is_read(raw):
        call.end()
        return
    release = type(raw).release_conn
    # Weak: a cycle would keep a response that is thrown away, and its connection, until the next garbage collection.
    weak = weakref.ref(raw)

    def release_conn() -> Any:
        call.end()
        alive = weak()
        return None if alive is None else release(alive)

    # urllib3 gives a connection back at the end of the body, requests when a response is closed: both call this.
    raw.release_conn = release_conn
    weakref.finalize(response, call.end)


def _is_read(raw: Any) -> bool:
    """Whether there is no body to wait for, as after HEAD or 204."""
    original = getattr(raw, "_original_response", None)
    return original is None or original.isclosed()
