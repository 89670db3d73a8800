"""Which libraries can be measured without changing the code that uses them?

Each library has one module with the same verbs: `is_available`, `instrument`, `uninstrument`, `is_instrumented`. None
of them imports its library before it is instrumented.
"""

from __future__ import annotations

from typing import Protocol

from pymetrics_sdk.errors import ConfigError
from pymetrics_sdk.instrumentation import requests
from pymetrics_sdk.instrumentation.http import track_http
from pymetrics_sdk.instrumentation.wsgi import WSGIMiddleware

__all__ = ["LIBRARIES", "WSGIMiddleware", "instrument", "track_http", "uninstrument"]


class Instrumentation(Protocol):
    """What each library's module can do."""

    def is_available(self) -> bool:
        """Whether the library is installed."""

    def is_instrumented(self) -> bool:
        """Whether it is measured."""

    def instrument(self) -> None:
        """Measure it; a second call changes nothing."""

    def uninstrument(self) -> None:
        """Leave it as it was."""


LIBRARIES: dict[str, Instrumentation] = {"requests": requests}
"""Name to what instruments it."""


def instrument(*names: str) -> tuple[str, ...]:
    """Measure the calls of libraries.

    Args:
        names: Which ones; default: all that are installed.

    Returns:
        The names of those that are measured now; one that is not installed is left out.

    Raises:
        ConfigError: A name that is not in `LIBRARIES`.
    """
    measured = []
    for name, library in _chosen(names):
        if library.is_available():
            library.instrument()
            measured.append(name)
    return tuple(measured)


def uninstrument(*names: str) -> None:
    """Leave libraries as they were.

    Args:
        names: Which ones; default: all.

    Raises:
        ConfigError: A name that is not in `LIBRARIES`.
    """
    for _, library in _chosen(names):
        if library.is_available():
            library.uninstrument()


def _chosen(names: tuple[str, ...]) -> list[tuple[str, Instrumentation]]:
    unknown = set(names) - set(LIBRARIES)
    if unknown:
        raise ConfigError(
            "instrument", f"{sorted(unknown)} cannot be instrumented; expected some of {sorted(LIBRARIES)}"
        )
    return [(name, LIBRARIES[name]) for name in names or LIBRARIES]
