"""Which group does a URL path name, and which path names a group?

A push goes to ``/metrics/job/JOB/NAME/VALUE/...``. A value that a path cannot carry, such as one with a slash, is
written ``NAME@base64/VALUE`` in the URL-safe alphabet, with or without padding; so is the job. A name beyond the legacy
grammar, where those are allowed, stands percent-encoded or is written as `names.unescape_name` reads it.

The rules are those of the Go Pushgateway (README, "URL", and observed), but for four: a path is never redirected to a
cleaned one, so that an empty component is an empty value; an empty value is the same as no label; what is not UTF-8 is
refused, for one such label would make every scrape unreadable; and a name is no less reserved for being escaped.
"""

from __future__ import annotations

import base64
import re

from pushgateway.config import Limits
from pushgateway.errors import GroupingKeyError, LimitError
from pushgateway.model import GroupingKey
from pushgateway.names import (
    SHOWN_CHARACTERS,
    escape_url_name,
    is_label_name,
    shown,
    unescape_name,
)

__all__ = ["format_path", "parse", "readable_path"]

_STANDARD = Limits()
_BASE64_SUFFIX = "@base64"
_EXPECTED = {
    False: "[a-zA-Z_][a-zA-Z0-9_]* that does not start with __; --push.enable-utf8-names allows others",
    True: "any characters but NUL, at least one, that do not start with __, also when U__ is unescaped",
}
_ALPHABET_HINT = "expected URL-safe base64: A-Z a-z 0-9 - _, padding optional"
# Line ends are skipped inside base64, as Go's decoder does.
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9_\-\r\n]")
_LINE_ENDS = b"\r\n"
# What no browser, shell, proxy or server changes in a path, on its way or when it is shown: not "." and "..", though.
_plain = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.:-]+").fullmatch
_ESCAPES = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
    '"': r"\"",
}


def parse(path: bytes, *, limits: Limits = _STANDARD, utf8_names: bool = False) -> GroupingKey:
    """Read the grouping key from the part of a URL path that follows ``/metrics/``.

    Of a repeated label the last one wins, and the job's component wins over a label `job`. Errors are looked for in the
    order in which the Go Pushgateway looks for them.

    Args:
        path: The percent-decoded bytes, as in ``job/a/l/v`` or ``job@base64/YQ/l/v``.
        limits: What a key may have: `key_labels`, those of empty value included, `name_bytes` and `value_bytes`.
        utf8_names: Whether label names may have any characters, and those that begin with ``U__`` are unescaped.

    Returns:
        The key, without labels of empty value.

    Raises:
        GroupingKeyError: The path is not UTF-8; it does not start with a job; the job is empty; a label has no value
            or an improper name; a value is not base64 where it says so, or base64 of what is not UTF-8.
        LimitError: The key has too many labels (`key-labels`), or a name or value that is too long (`name-bytes`,
            `value-bytes`).
    """
    try:
        text = path.decode()
    except UnicodeDecodeError as error:
        raise GroupingKeyError(
            f"invalid UTF-8 in path {_quote(path)}: byte {path[error.start]:#04x} at offset {error.start}; "
            "expected percent-encoded UTF-8"
        ) from error
    head, _, rest = text.partition("/")
    if head not in {"job", "job" + _BASE64_SUFFIX}:
        raise GroupingKeyError(f"path starts with {_quote(head)}; expected job/NAME or job@base64/NAME")
    job, slash, labels = rest.partition("/")
    if head != "job":
        job = _decode_job(job)
    pairs = _split_labels(slash + labels, limits, utf8_names=utf8_names)
    if not job:
        raise GroupingKeyError("job name is required; expected job/NAME")
    pairs["job"] = job
    if len(pairs) > limits.key_labels:
        raise LimitError("key-labels", allowed=limits.key_labels, seen=len(pairs))
    for value in pairs.values():
        if 4 * len(value) > limits.value_bytes and (seen := len(value.encode())) > limits.value_bytes:
            raise LimitError("value-bytes", allowed=limits.value_bytes, seen=seen)
    return GroupingKey.of(pairs)


def format_path(key: GroupingKey, *, utf8_names: bool = False) -> str:
    """Return a path, to stand after ``/metrics/``, that `parse` reads as `key`.

    Every value is in base64: correct for all values, and nothing on the way can clean, decode or re-encode it. For the
    same reason every name beyond the legacy grammar is escaped.

    Args:
        key: Without `utf8_names` its label names must be of the legacy grammar, as `parse` demands them.
        utf8_names: What `parse` will be told.
    """
    written = escape_url_name if utf8_names else str
    others = (f"/{written(name)}{_BASE64_SUFFIX}/{_encode(value)}" for name, value in key.labels if name != "job")
    return f"job{_BASE64_SUFFIX}/{_encode(key.job)}{''.join(others)}"


def readable_path(key: GroupingKey, *, utf8_names: bool = False) -> str:
    """Return a path as `format_path` does, but with values as they are where every program on the way leaves them so.

    Args:
        key: Any. Names beyond the legacy grammar are always escaped: pages find such a group also when no push does.
        utf8_names: As in `format_path`.
    """
    written = escape_url_name if utf8_names or not key.legacy else str
    others = (_component(written(name), value) for name, value in key.labels if name != "job")
    return "/".join((_component("job", key.job), *others))


def _component(name: str, value: str) -> str:
    return f"{name}/{value}" if _plain(value) else f"{name}{_BASE64_SUFFIX}/{_encode(value)}"


def _split_labels(text: str, limits: Limits, *, utf8_names: bool) -> dict[str, str]:
    if len(text) <= 1:
        return {}
    components = text[1:].split("/")
    if len(components) % 2:
        raise GroupingKeyError(
            f"odd number of components in label string {_quote(text)}; "
            "expected /NAME/VALUE pairs, a value that contains a slash as /NAME@base64/VALUE"
        )
    labels: dict[str, str] = {}
    for written, value in zip(components[::2], components[1::2], strict=True):
        bare = written.removesuffix(_BASE64_SUFFIX)
        name = unescape_name(bare) if utf8_names else bare
        if not is_label_name(name, utf8=utf8_names):
            raise GroupingKeyError(f"improper label name {_quote(name)}; expected {_EXPECTED[utf8_names]}")
        if 4 * len(name) > limits.name_bytes and (seen := len(name.encode())) > limits.name_bytes:
            raise LimitError("name-bytes", allowed=limits.name_bytes, seen=seen)
        labels[name] = value if bare == written else _decode_label(name, value)
    return labels


def _decode_label(name: str, encoded: str) -> str:
    what = f"for label {shown(name)}={_quote(encoded)}"
    try:
        return _decode(encoded, what)
    except _CorruptBase64Error as error:
        raise GroupingKeyError(f"invalid base64 encoding {what}: {error}; {_ALPHABET_HINT}") from error


def _decode_job(encoded: str) -> str:
    try:
        return _decode(encoded, f"in job name {_quote(encoded)}")
    except _CorruptBase64Error as error:
        # As the original has it: not what was sent is quoted, but what could be decoded of it.
        what = f"in job name {_quote(error.decoded)}"
        raise GroupingKeyError(f"invalid base64 encoding {what}: {error}; {_ALPHABET_HINT}") from error


class _CorruptBase64Error(Exception):
    """Go's CorruptInputError.

    Args:
        index: Which byte is at fault.
        decoded: What the whole quanta before that byte decode to.
    """

    def __init__(self, index: int, *, decoded: bytes) -> None:
        super().__init__(f"illegal base64 data at input byte {index}")
        self.decoded = decoded


def _decode(encoded: str, what: str) -> str:
    data = encoded.encode().rstrip(b"=")
    illegal = _NOT_BASE64.search(data)
    digits = (data[: illegal.start()] if illegal else data).translate(None, _LINE_ENDS)
    if illegal or len(digits) % 4 == 1:
        index = illegal.start() if illegal else len(data) - 1
        raise _CorruptBase64Error(index, decoded=base64.urlsafe_b64decode(digits[: len(digits) // 4 * 4]))
    value = base64.urlsafe_b64decode(digits + b"=" * (-len(digits) % 4))
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise GroupingKeyError(
            f"invalid UTF-8 {what}: byte {value[error.start]:#04x} at offset {error.start} of the decoded value; "
            "expected base64 of UTF-8"
        ) from error


def _encode(value: str) -> str:
    return base64.urlsafe_b64encode(value.encode()).rstrip(b"=").decode()


def _quote(value: str | bytes) -> str:
    r"""Quote as Go's ``%q`` does (strconv.Quote), cut; bytes that are not UTF-8 come out as ``\xNN``."""
    text = value.decode(errors="surrogateescape") if isinstance(value, bytes) else value
    quoted = "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escape(ord(c))) for c in text[:SHOWN_CHARACTERS])
    return f'"{quoted}"' if len(text) <= SHOWN_CHARACTERS else f'"{quoted}"...'


def _escape(code: int) -> str:
    if code < 0x20 or code == 0x7F:
        return rf"\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # what surrogateescape makes of a stray byte
        return rf"\x{code - 0xDC00:02x}"
    return rf"\u{code:04x}" if code < 0x10000 else rf"\U{code:08x}"
