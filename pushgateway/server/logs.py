"""How do log lines come out, our own and those of gunicorn and uvicorn?

One line an event on standard error, as logfmt or JSON: ts, level, caller and msg as in the original, then what belongs
to the event. What a client has sent may stand in any value; it ends no line, makes no key, and is cut. The chatter of
gunicorn and uvicorn about workers that come and go is only shown at level debug.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Final

import structlog
from gunicorn.config import Config as GunicornConfig
from gunicorn.glogging import Logger as GunicornLogger
from structlog.processors import CallsiteParameter
from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["ServerLogger", "configure"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_TRICKS: Final = "\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""What ends lines or changes their direction for some who show them, and what UTF-8 cannot hold."""

_LOGFMT_ESCAPED: Final = re.compile(f"[\x00-\x09\x0b-\x1f{_TRICKS}]")
"""The line feed is not among them: the renderer escapes it itself."""

_JSON_ESCAPED: Final = re.compile(f"[{_TRICKS}]")

_VALUE_CHARACTERS: Final = 4096
_EXCEPTION_CHARACTERS: Final = 32_768
"""A traceback is long, and ends with what it is about."""

_LOGFMT: Final = structlog.processors.LogfmtRenderer(bool_as_flag=False)
_JSON: Final = structlog.processors.JSONRenderer(ensure_ascii=False)


def configure(*, level: str, log_format: str) -> None:
    """Set logging up for this process and those that it forks.

    Args:
        level: debug, info, warn or error.
        log_format: logfmt or json.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.CallsiteParameterAdder(
            {CallsiteParameter.FILENAME, CallsiteParameter.LINENO}, additional_ignores=["gunicorn", "logging"]
        ),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _spell,
            _bounded,
            _json if log_format == "json" else _logfmt,
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(_LEVELS[level])
    # Third parties speak up from warnings on; their own chatter is for debugging only.
    for name in ("gunicorn", "uvicorn", "asyncio"):
        logging.getLogger(name).setLevel(logging.INFO if level == "debug" else max(logging.WARNING, _LEVELS[level]))
    # What it warns of is that a connection has broken, which the store tells by itself.
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _spell(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Name and order the keys as the original does."""
    level = event.pop("level")
    head = {
        "ts": event.pop("ts"),
        "level": {"warning": "warn", "critical": "error"}.get(level, level),
        "caller": f"{event.pop('filename', '?')}:{event.pop('lineno', 0)}",
        "msg": event.pop("event", ""),
    }
    return {**head, **event}


def _bounded(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """Cut what is too long to be read."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > _VALUE_CHARACTERS:
            if key == "exception":
                event[key] = value[-_EXCEPTION_CHARACTERS:]
            else:
                event[key] = f"{value[:_VALUE_CHARACTERS]}... ({len(value)} characters)"
    return event


def _logfmt(logger: WrappedLogger, name: str, event: EventDict) -> str:
    printable = {
        key: _LOGFMT_ESCAPED.sub(_escape, value) if isinstance(value, str) else value for key, value in event.items()
    }
    return _LOGFMT(logger, name, printable)


def _json(logger: WrappedLogger, name: str, event: EventDict) -> str:
    text = _JSON(logger, name, event)
    return _JSON_ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text if isinstance(text, str) else text.decode())


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class ServerLogger(GunicornLogger):
    """gunicorn's logger, whose lines go the way of all others; it writes no access log."""

    def setup(self, cfg: GunicornConfig) -> None:
        """Leave handlers and levels as `configure` has set them; gunicorn calls this at its start and at SIGHUP."""
        self.cfg = cfg
        self.error_log.propagate = True
        self.error_log.handlers = []
        self.access_log.propagate = False
        self.access_log.handlers = []

    def reopen_files(self) -> None:
        """Do nothing: there are no files."""

    def close_on_exec(self) -> None:
        """Do nothing: there are no files."""
