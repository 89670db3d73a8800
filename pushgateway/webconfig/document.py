"""How is a YAML text read strictly, so that every complaint names the key and the line?

The text is composed into YAML's nodes and never turned into Python objects: a node still knows its line, whether a key
comes twice, and how a value was spelt (`X-XSS-Protection: 0` and a user called `007` are texts). No message quotes a
value: passwords and private keys stand in such files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

import yaml

from pushgateway.errors import WebConfigError

__all__ = ["MOST_BYTES", "Section", "Value", "read_document"]

MOST_BYTES: Final = 1 << 20
"""Ten thousand users; what is larger is another file."""

_TAG: Final = "tag:yaml.org,2002:"

_KEY: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")

_NAME: Final = re.compile(r"[\w.@+-]{1,64}")
"""A key that is told: any other may be a hash that has changed places with its user's name, or end the line."""

_KINDS: Final = {
    "null": "nothing",
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
    "str": "a text",
    "seq": "a list",
    "map": "a mapping",
}


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the file, with its address.

    Attributes:
        file: The file, as in messages.
        key: The key with those above it, as in ``tls_server_config.cert_file``.
        node: What YAML has read; None where the key is absent.
    """

    file: str
    key: str
    node: yaml.Node | None

    @property
    def absent(self) -> bool:
        """Whether the key is not there, or has nothing after it."""
        return self.node is None or self._kind() == "null"

    def error(self, problem: str) -> WebConfigError:
        """Make the error that says what is wrong with this value."""
        line = 0 if self.node is None else self.node.start_mark.line + 1
        return WebConfigError(self.file, self.key, problem, line=line)

    def text(self, *, default: str = "") -> str:
        """Return a text; `default` where it is absent."""
        return default if self.absent else self._scalar("str", expected="a text")

    def spelt(self, *, default: str = "") -> str:
        """Return any single value as it is spelt in the file."""
        if self.absent:
            return default
        if not isinstance(self.node, yaml.ScalarNode) or self._kind() not in _KINDS:
            raise self._wrong("a text")
        return str(self.node.value)

    def flag(self, *, default: bool) -> bool:
        """Return true or false."""
        if self.absent:
            return default
        return bool(yaml.SafeLoader.bool_values[self._scalar("bool", expected="true or false").lower()])

    def whole(self, *, default: int) -> int:
        """Return a whole number of at least 0."""
        if self.absent:
            return default
        digits = self._scalar("int", expected="a whole number")
        if not re.fullmatch(r"0|[1-9][0-9]{0,8}", digits):
            raise self.error("expected a whole number from 0 to 999999999")
        return int(digits)

    def items(self) -> tuple[Value, ...]:
        """Return the values of a list; none where it is absent."""
        if self.absent:
            return ()
        if not isinstance(self.node, yaml.SequenceNode):
            raise self._wrong("a list")
        return tuple(Value(self.file, f"{self.key}[{number}]", node) for number, node in enumerate(self.node.value))

    def section(self, keys: Collection[str] | None = None) -> Section:
        """Return a mapping; an empty one where it is absent.

        Args:
            keys: The keys that it may have; None for any.
        """
        return Section(self, keys)

    def _scalar(self, kind: str, *, expected: str) -> str:
        if self._kind() != kind or not isinstance(self.node, yaml.ScalarNode):
            raise self._wrong(expected)
        return str(self.node.value)

    def _kind(self) -> str:
        return "" if self.node is None else str(self.node.tag).removeprefix(_TAG)

    def _wrong(self, expected: str) -> WebConfigError:
        return self.error(f"{_KINDS.get(self._kind(), 'a value of an unknown type')} where {expected} is expected")


class Section:
    """A mapping of the file, each of whose keys is known and comes once.

    Args:
        value: What should be a mapping.
        keys: The keys that it may have; None for any.

    Raises:
        WebConfigError: It is no mapping, or has a key twice or one that nobody knows.
    """

    def __init__(self, value: Value, keys: Collection[str] | None) -> None:
        self._value = value
        self._values: dict[str, Value] = {}
        if value.absent:
            return
        if not isinstance(value.node, yaml.MappingNode):
            raise value._wrong("a mapping")
        for number, (key_node, node) in enumerate(value.node.value):
            name = Value(value.file, value.key, key_node).spelt()
            told = f".{name}" if _NAME.fullmatch(name) else f"[{number}]"
            address = f"{value.key}{told}".removeprefix(".")
            key = Value(value.file, address, key_node)
            if name in self._values:
                raise key.error("given twice, expected once")
            if keys is not None and name not in keys:
                # What does not look like a key may be a secret that has lost its indentation.
                unknown = f"unknown key {name!r}" if _KEY.fullmatch(name) else "unknown key"
                raise Value(value.file, value.key, key_node).error(f"{unknown}, expected one of {', '.join(keys)}")
            self._values[name] = Value(value.file, address, node)

    def __getitem__(self, name: str) -> Value:
        absent = Value(self._value.file, f"{self._value.key}.{name}" if self._value.key else name, None)
        return self._values.get(name, absent)

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return iter(self._values.items())


def read_document(data: bytes, *, file: str) -> Value:
    """Read the one document of a YAML file.

    Args:
        data: The file's content, UTF-8.
        file: Its name, for messages.

    Returns:
        Its value, absent for an empty file.

    Raises:
        WebConfigError: It is not YAML, not UTF-8, too large, or more than one document.
    """
    if len(data) > MOST_BYTES:
        raise WebConfigError(file, "", f"expected at most {MOST_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WebConfigError(file, "", f"not UTF-8 at byte {error.start}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # Of these it quotes the name, which is any text after * or &, such as a password without quotes.
        problem = re.sub(
            r"(?s)\b(alias|anchor|tag handle)\b.*", r"\1", error.problem or error.context or "syntax error"
        )
        raise WebConfigError(file, "", f"not YAML: {problem}", line=mark.line + 1 if mark else 0) from None
    except yaml.YAMLError:
        raise WebConfigError(file, "", "not YAML: it holds a character that YAML does not allow") from None
    except RecursionError:
        raise WebConfigError(file, "", "not a web configuration: nested too deeply") from None
    return Value(file, "", node)
