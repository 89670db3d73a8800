"""What does the text of a setting mean, and how may it be shown?

Pure readers of single values, for `config` and for whoever else has to name a setting's value in a message.
"""

from __future__ import annotations

import re
from decimal import ROUND_DOWN, Decimal
from typing import Final

from pushgateway.errors import ConfigError

__all__ = [
    "byte_count",
    "bytes_text",
    "duration_seconds",
    "go_duration",
    "is_shared",
    "redact",
    "shown",
    "split_address",
]


def is_shared(url: str) -> bool:
    """Return whether a storage URL names a database that several gateways may use: ``postgresql://...``."""
    return url.startswith(("postgresql://", "postgres://"))


def split_address(address: str, setting: str = "--web.listen-address") -> tuple[str, int]:
    """Split HOST:PORT.

    Args:
        address: As in ``:9091``, ``localhost:9091``, ``[::1]:0``.
        setting: How the setting is spelt in the error.

    Returns:
        Host ("" is every address, brackets removed) and port (0 to 65535).

    Raises:
        ConfigError: It is not such an address, or one of a kind that is not supported yet.
    """
    if address.startswith("vsock:"):
        raise ConfigError(setting, f"{shown(address)}: vsock is not supported yet")
    match = re.fullmatch(
        r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[^\]]+)?)\]|(?P<host>[^\s:\[\]/]*)):(?P<port>[0-9]{1,5})", address
    )
    if match is None or int(match["port"]) > 65535:
        raise ConfigError(setting, f"{shown(address)} is not HOST:PORT, such as :9091, 127.0.0.1:9091 or [::1]:9091")
    return match["six"] or match["host"] or "", int(match["port"])


_UNIT_SECONDS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),  # U+00B5, the micro sign
    "μs": Decimal("1e-6"),  # U+03BC, the Greek letter: Go takes both
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_DURATION_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")

_LONGEST_SECONDS: Final = Decimal(2**63 - 1) * _UNIT_SECONDS["ns"]
"""Go counts nanoseconds in 64 bits: 292 years."""


def duration_seconds(text: str, setting: str) -> Decimal:
    """Read a duration as Go's time.ParseDuration does, negative ones excepted.

    Args:
        text: As in ``5m``, ``1h30m``, ``1.5s``, ``0``.
        setting: How the setting is spelt in the error.

    Returns:
        Seconds, in whole nanoseconds.

    Raises:
        ConfigError: It is not a duration, or one of more than 292 years.
    """
    unsigned = text.removeprefix("+")
    if unsigned == "0":
        return Decimal(0)
    if not unsigned or not re.fullmatch(f"(?:{_DURATION_PART.pattern})+", unsigned):
        raise ConfigError(setting, f"{shown(text)} is not a duration such as 30s, 5m or 1h30m")
    parts = _DURATION_PART.findall(unsigned)
    seconds = sum((Decimal(number) * _UNIT_SECONDS[unit] for number, unit in parts), Decimal(0))
    if seconds > _LONGEST_SECONDS:
        raise ConfigError(setting, f"{shown(text)} is too long, expected at most {go_duration(_LONGEST_SECONDS)}")
    return seconds.quantize(_UNIT_SECONDS["ns"], ROUND_DOWN)


def go_duration(seconds: Decimal) -> str:
    """Write a duration as Go prints it: 5m0s, 1h30m0s, 1.5s, 250ms."""
    for unit in ("ns", "µs", "ms"):
        if 0 < seconds < _UNIT_SECONDS[unit] * 1000:
            return f"{(seconds / _UNIT_SECONDS[unit]).normalize():f}{unit}"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours:f}h{minutes:f}m" if hours else f"{minutes:f}m" if minutes else ""
    return f"{head}{rest.normalize():f}s"


_BYTES: Final = {"": 1} | {
    unit: size
    for power, letter in enumerate("KMG", start=1)
    for unit, size in ((f"{letter.lower()}ib", 1024**power), (f"{letter.lower()}b", 1000**power))
}
_BYTES_TEXT: Final = re.compile(r"([0-9]{1,15})(\.[0-9]{1,9})?[ ]?([KMG]i?B)?", re.IGNORECASE)


def byte_count(text: str, setting: str) -> int:
    """Read a number of bytes.

    Args:
        text: As in ``65536``, ``64KiB``, ``1.5 GiB``, ``10MB``: KiB, MiB and GiB are powers of 1024, KB, MB and GB of
            1000, in any case.
        setting: How the setting is spelt in the error.

    Returns:
        Whole bytes.

    Raises:
        ConfigError: It is not such a number, or not one of whole bytes.
    """
    match = _BYTES_TEXT.fullmatch(text)
    if match is not None:
        size = Decimal(match[1] + (match[2] or "")) * _BYTES[(match[3] or "").lower()]
        if size == int(size):
            return int(size)
    raise ConfigError(setting, f"{shown(text)} is not a number of bytes such as 65536, 64KiB or 10MB")


def bytes_text(size: int) -> str:
    """Write a number of bytes in the largest unit of which it is a multiple: 64KiB, 10MB, 1000."""
    units = sorted(((many, unit) for unit, many in _BYTES.items() if unit), reverse=True)
    names = {unit.lower(): unit for letter in "KMG" for unit in (f"{letter}iB", f"{letter}B")}
    return next((f"{size // many}{names[unit]}" for many, unit in units if size and size % many == 0), str(size))


_SHOWN_CHARACTERS: Final = 200

# The user may hold an unescaped @, as some providers' names do.
_USER: Final = re.compile(r"(?P<before>://[^/?#:]*:)[^/?#]*@")
# A password with an unescaped slash, question mark or hash.
_CARELESS_USER: Final = re.compile(r"(?P<before>://[^/?#:]*:).*@", re.DOTALL)
_PASSWORD_PARAMETER: Final = re.compile(
    r"(?P<before>[?&](?:(?:ssl)?password|oauth_client_secret|scram_(?:client|server)_key)=)[^&#]*", re.IGNORECASE
)


def redact(text: str) -> str:
    """Return a setting's value as it may be shown: the password of a URL, if it holds one, becomes ``***``.

    Args:
        text: Any value, not only a URL. A part that only looks like a password is hidden too.
    """
    found, times = _USER.subn(r"\g<before>***@", text)
    if not times:
        found = _CARELESS_USER.sub(r"\g<before>***@", found)
    return _PASSWORD_PARAMETER.sub(r"\g<before>***", found)


def shown(value: str) -> str:
    """Return how a value is named in an error: quoted, redacted, and cut, since an argument may have 128 KiB."""
    text = redact(value)
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")
