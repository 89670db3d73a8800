"""Is importing the SDK inert: no thread, no socket, no heavy library, no file, no variable read?"""

from __future__ import annotations

import subprocess
import sys

import pymetrics_sdk


def python(code: str, *flags: str) -> str:
    """Run code in a fresh interpreter and return its output."""
    found = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_import_brings_no_heavy_library() -> None:
    """Requests comes with the first push, Flask never; asyncio and multiprocessing only if the job has them."""
    heavy = {"requests", "urllib3", "flask", "werkzeug", "asyncio", "multiprocessing", "tqdm", "unittest", "pytest"}
    assert python(f"import pymetrics_sdk, sys; print({heavy!r} & set(sys.modules))") == "set()"


def test_import_starts_no_thread_opens_nothing_and_changes_nothing() -> None:
    """Threads, open files, signal handlers, logging and the environment are as before."""
    code = """
import logging, os, prometheus_client, signal, sys, threading
def state():
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    return threading.active_count(), sorted(os.listdir("/proc/self/fd")), handlers, dict(os.environ)
before = state()
import pymetrics_sdk
assert state() == before
assert logging.getLogger("pymetrics_sdk").handlers == []
print("ok")
"""
    assert python(code) == "ok"


def test_every_name_of_the_example_is_exported() -> None:
    """`from pymetrics_sdk import *` gives what the documentation uses, and the list is sorted as ruff sorts it."""
    assert {
        "ConfigError", "Counter", "Gauge", "Histogram", "Job", "PushError", "PymetricsError", "Run", "SLO", "Skip",
        "WSGIMiddleware", "__version__", "current_run", "instrument", "measure", "skip", "track_http", "uninstrument",
    } == set(pymetrics_sdk.__all__)  # fmt: skip
    for name in pymetrics_sdk.__all__:
        assert getattr(pymetrics_sdk, name) is not None
    assert python("from pymetrics_sdk import *; print(Job, instrument, current_run, track_http, SLO) or 1")


def test_the_version_is_the_distributions() -> None:
    """The literal in version.py is what setup.cfg says."""
    code = "import importlib.metadata, pymetrics_sdk; print(importlib.metadata.version('pymetrics-pushgateway'))"
    assert python(code) == pymetrics_sdk.__version__


def test_a_run_without_a_gateway_imports_no_requests() -> None:
    """A job that pushes nowhere does not pay for the library that pushes."""
    code = "from pymetrics_sdk import Job; import sys\nwith Job('x'): pass\nprint('requests' in sys.modules)"
    assert python(code) == "False"


def test_the_instrumentation_modules_have_the_same_verbs() -> None:
    """Each library's module has the four verbs, and the table knows no other kind."""
    for library in pymetrics_sdk.instrumentation.LIBRARIES.values():
        for verb in ("is_available", "is_instrumented", "instrument", "uninstrument"):
            assert callable(getattr(library, verb))
