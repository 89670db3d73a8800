"""Instrument batch jobs and push their metrics on exit, however the process ends."""

from __future__ import annotations

from pymetrics_sdk.errors import ConfigError, PushError, PymetricsError, Skip
from pymetrics_sdk.instrumentation import WSGIMiddleware, instrument, track_http, uninstrument
from pymetrics_sdk.job import Job, current_run, skip
from pymetrics_sdk.measure import measure
from pymetrics_sdk.metrics import Counter, Gauge, Histogram
from pymetrics_sdk.run import Run
from pymetrics_sdk.slo import SLO
from pymetrics_sdk.version import __version__

__all__ = [
    "SLO",
    "ConfigError",
    "Counter",
    "Gauge",
    "Histogram",
    "Job",
    "PushError",
    "PymetricsError",
    "Run",
    "Skip",
    "WSGIMiddleware",
    "__version__",
    "current_run",
    "instrument",
    "measure",
    "skip",
    "track_http",
    "uninstrument",
]
