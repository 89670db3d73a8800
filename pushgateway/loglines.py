"""How does the gateway say what has happened?

By an event and what belongs to it: ``Log(__name__).warning("counters not folded", pid=7)``. `server.logs` says where
lines go and how they look. Not structlog's: of what it can do nothing more was used, and it took a twentieth of each
start, and ten times as long for a line that nobody wants.
"""

from __future__ import annotations

import logging
from typing import Any, Final

__all__ = ["Log"]

_CALLER: Final = 3
"""How far up the frame is that a line is said to come from: behind `Logger.log`, `Log._note` and the verb."""


class Log:
    """Where one module says what has happened.

    Args:
        name: The module's.
    """

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def wants(self, level: int) -> bool:
        """Tell whether lines of a level are written, for whoever has work to put one together."""
        return self._logger.isEnabledFor(level)

    def debug(self, event: str, /, **data: object) -> None:
        """Say what only matters to who looks for a problem."""
        self._note(logging.DEBUG, event, data)

    def info(self, event: str, /, **data: object) -> None:
        """Say what is as it should be."""
        self._note(logging.INFO, event, data)

    def warning(self, event: str, /, **data: object) -> None:
        """Say what somebody should look at."""
        self._note(logging.WARNING, event, data)

    def error(self, event: str, /, **data: object) -> None:
        """Say what has gone wrong."""
        self._note(logging.ERROR, event, data)

    def exception(self, event: str, /, **data: object) -> None:
        """Say what has gone wrong, with the traceback of the exception that is being handled."""
        self._note(logging.ERROR, event, data, exc_info=True)

    def log(self, level: int, event: str, /, *, exc_info: Any = None, **data: object) -> None:
        """Say something at a level.

        Args:
            level: One of logging's.
            event: What has happened, the same words each time.
            exc_info: As logging takes it: what comes with a traceback; None for nothing.
            data: What belongs to it.
        """
        self._note(level, event, data, exc_info=exc_info)

    def _note(self, level: int, event: str, data: dict[str, object], *, exc_info: Any = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, exc_info=exc_info, extra={"data": data}, stacklevel=_CALLER)
