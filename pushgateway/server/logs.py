"""How do log lines come out, our own and those of gunicorn and uvicorn?

One line an event on standard error, as logfmt or JSON: ts, level, caller and msg as in the original, then what belongs
to the event. What a client has sent may stand in any value; it ends no line, makes no key, and is cut. The chatter of
gunicorn and uvicorn about workers that come and go is only shown at level debug.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from gunicorn.config import Config as GunicornConfig
from gunicorn.glogging import Logger as GunicornLogger

__all__ = ["ServerLogger", "configure"]

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}
_TRICKS: Final = "\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""What ends lines or changes their direction for some who show them, and what UTF-8 cannot hold."""

_LOGFMT_ESCAPED: Final = f"[\x00-\x09\x0b-\x1f{_TRICKS}]"
"""The line feed is not among them: it becomes ``\\n``. Compiled with the first line that is not printable."""

_JSON_ESCAPED: Final = f"[{_TRICKS}]"

_VALUE_CHARACTERS: Final = 4096
_EXCEPTION_CHARACTERS: Final = 32_768
"""A traceback is long, and ends with what it is about."""

_WORDS: Final = {"WARNING": "warn", "CRITICAL": "error"}
"""What the original calls levels of logging, where that is another word."""


def configure(*, level: str, log_format: str) -> None:
    """Set logging up for this process and those that it forks.

    Args:
        level: debug, info, warn or error.
        log_format: logfmt or json.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(_json if log_format == "json" else _logfmt))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(_LEVELS[level])
    # Third parties speak up from warnings on; their own chatter is for debugging only.
    for name in ("gunicorn", "uvicorn", "asyncio"):
        logging.getLogger(name).setLevel(logging.INFO if level == "debug" else max(logging.WARNING, _LEVELS[level]))
    # What it warns of is that a connection has broken, which the store tells by itself.
    logging.getLogger("psycopg").setLevel(logging.ERROR)


class _Formatter(logging.Formatter):
    """Names and orders the keys as the original does.

    Args:
        render: Makes a line of keys and values.
    """

    def __init__(self, render: Callable[[dict[str, object]], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of an event of ours (`loglines.Log`) or a third party's."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        event: dict[str, object] = {
            "ts": at.replace("+00:00", "Z"),
            "level": _WORDS.get(record.levelname, record.levelname.lower()),
            "caller": f"{record.filename}:{record.lineno}",
            "msg": record.getMessage(),
            **getattr(record, "data", {}),
        }
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return self._render({key: _bounded(key, value) for key, value in event.items()})


def _bounded(key: str, value: object) -> object:
    """Cut what is too long to be read."""
    if not isinstance(value, str) or len(value) <= _VALUE_CHARACTERS:
        return value
    if key == "exception":
        return value[-_EXCEPTION_CHARACTERS:]
    return f"{value[:_VALUE_CHARACTERS]}... ({len(value)} characters)"


def _logfmt(event: dict[str, object]) -> str:
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in event.items())


def _logfmt_value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    if not text.isprintable():
        text = re.sub(_LOGFMT_ESCAPED, _escape, text)
    needs_quotes = any(character in text for character in ' ="\n')
    if needs_quotes:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    text = text.replace("\n", "\\n")
    return f'"{text}"' if needs_quotes else text


def _json(event: dict[str, object]) -> str:
    text = json.dumps(event, default=repr, ensure_ascii=False)
    return text if text.isprintable() else re.sub(_JSON_ESCAPED, lambda found: f"\\u{ord(found[0]):04x}", text)


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
