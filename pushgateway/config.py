"""Which settings are there, and what do the operator's flags and variables amount to?

`OPTIONS` is the one table: the command line, `--help`, the environment, the frozen `Config`, the flags of
/api/v1/status and the page of the reference derive from it. `load` is pure: it is handed the flags and the environment
and reads nothing itself.

Long, since half of it is that table.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from pushgateway.errors import ConfigError
from pushgateway.limits import KIB, MIB, Limits
from pushgateway.values import (
    byte_count,
    bytes_text,
    duration_seconds,
    go_duration,
    is_shared,
    redact,
    shown,
    split_address,
)

__all__ = ["OPTIONS", "Config", "Kind", "Limits", "Option", "load", "split_address"]

_GIB = 1024 * MIB


class Kind(enum.Enum):
    """How an option's text is read."""

    TEXT = "text"
    FLAG = "flag"
    COUNT = "count"
    BYTES = "bytes"
    SECONDS = "seconds"
    DURATION = "duration"
    CHOICE = "choice"
    ADDRESSES = "addresses"


class Option(NamedTuple):
    """One setting.

    Attributes:
        name: The flag without its dashes, in the original's spelling.
        kind: How its text is read. ADDRESSES may be repeated, FLAG has a ``--no-`` form.
        default: The text that holds when neither flag nor variable is given.
        help: One sentence for --help and the reference.
        metavar: What stands for the value in --help; "" for a FLAG.
        unit: The unit or range of the value, in words; "" where there is none.
        choices: The values of a CHOICE.
        lowest: The smallest value of a COUNT, BYTES or SECONDS.
        highest: The largest value of a COUNT, BYTES or SECONDS.
        note: What the reference adds, such as a difference from the original.
    """

    name: str
    kind: Kind
    default: str
    help: str
    metavar: str = ""
    unit: str = ""
    choices: tuple[str, ...] = ()
    lowest: float = 1
    highest: float = 256
    note: str = ""

    @property
    def flag(self) -> str:
        """The long flag: ``--web.workers``."""
        return f"--{self.name}"

    @property
    def env(self) -> str:
        """The environment variable: ``PUSHGATEWAY_WEB_WORKERS``."""
        return "PUSHGATEWAY_" + re.sub(r"[.-]", "_", self.name).upper()


def _limit(name: str, kind: Kind, help: str, *, lowest: float = 1, highest: float, note: str = "") -> Option:
    """Make the option of a field of `Limits`, whose default is the field's."""
    default: float = getattr(Limits(), name.replace("-", "_"))
    show, metavar = _LIMIT_KINDS[kind]
    return Option(
        f"limit.{name}",
        kind,
        show(default),
        help,
        metavar=metavar,
        unit=f"{show(lowest)} to {show(highest)}",
        lowest=lowest,
        highest=highest,
        note=note,
    )


def _seconds_text(seconds: float) -> str:
    return go_duration(Decimal(str(seconds)))


_LIMIT_KINDS: Final[Mapping[Kind, tuple[Callable[[float], str], str]]] = {
    Kind.BYTES: (lambda value: bytes_text(int(value)), "BYTES"),
    Kind.COUNT: (lambda value: str(int(value)), "N"),
    Kind.SECONDS: (_seconds_text, "SECONDS"),
}
"""How the values of a limit are written, and what stands for one in --help."""

_UNLIMITED: Final = "0 is no limit."

OPTIONS: tuple[Option, ...] = (
    Option(
        "web.systemd-socket",
        Kind.FLAG,
        "false",
        "Use the sockets that systemd hands over instead of listening on --web.listen-address (Linux only).",
    ),
    Option(
        "web.listen-address",
        Kind.ADDRESSES,
        ":9091",
        "Address on which to take pushes and to be scraped. Repeatable. vsock:// is not supported yet.",
        metavar="HOST:PORT",
        note="An empty host is every address, IPv4 and IPv6; port 0 picks a free one.",
    ),
    Option(
        "web.config.file",
        Kind.TEXT,
        "",
        "Path of a configuration file that enables TLS or authentication.",
        metavar="FILE",
        note="See [web-config](web-config.md).",
    ),
    Option(
        "web.telemetry-path",
        Kind.TEXT,
        "/metrics",
        "Path under which the metrics are exposed. Pushes go to /metrics/job/... whatever it is.",
        metavar="PATH",
    ),
    Option(
        "web.external-url",
        Kind.TEXT,
        "",
        "The URL under which the Pushgateway is reachable from outside.",
        metavar="URL",
    ),
    Option(
        "web.route-prefix",
        Kind.TEXT,
        "",
        "Prefix of all routes. Defaults to the path of --web.external-url; / is none.",
        metavar="PATH",
    ),
    Option("web.enable-lifecycle", Kind.FLAG, "false", "Enable the end of the Pushgateway by PUT or POST to /-/quit."),
    Option("web.enable-admin-api", Kind.FLAG, "false", "Enable the admin API: PUT /api/v1/admin/wipe."),
    Option(
        "web.enable-openmetrics",
        Kind.FLAG,
        "false",
        "Expose OpenMetrics to scrapers that ask for it. Counters without _total are named differently there.",
        note="The original has no such flag; see [formats](../explanation/formats.md#why-openmetrics-output-is-off).",
    ),
    Option(
        "web.workers",
        Kind.COUNT,
        "2",
        "Worker processes.",
        metavar="N",
        unit="processes, 1 to 256",
        note="The original has no such flag.",
    ),
    Option(
        "web.threads",
        Kind.COUNT,
        "4",
        "Threads of each worker for scrapes and other reads.",
        metavar="N",
        unit="threads, 1 to 256",
        note="The original has no such flag.",
    ),
    Option(
        "web.replica",
        Kind.TEXT,
        "",
        "The label replica of the gateway's own metrics, where several gateways share a database.",
        metavar="NAME",
        note="Defaults to the host name with postgresql://..., else to none. The original has no such flag.",
    ),
    Option(
        "storage.url",
        Kind.TEXT,
        "sqlite:pushgateway.db",
        "Where groups are kept: sqlite:FILE, postgresql://..., or memory: for a temporary database that goes at exit.",
        metavar="URL",
        note="The original has no such flag.",
    ),
    Option(
        "storage.password-file",
        Kind.TEXT,
        "",
        "File that holds the password for --storage.url=postgresql://..., read for each connection.",
        metavar="FILE",
        note="The original has no such flag.",
    ),
    Option(
        "persistence.file",
        Kind.TEXT,
        "",
        "The same as --storage.url=sqlite:FILE.",
        metavar="FILE",
        note="The original's own files cannot be read; such a file is refused and left alone.",
    ),
    Option(
        "persistence.interval",
        Kind.DURATION,
        "5m",
        "Accepted for compatibility; has no effect, since every answered push is durable.",
        metavar="DURATION",
        unit="a Go duration such as 5m or 1h30m",
    ),
    Option(
        "push.disable-consistency-check",
        Kind.FLAG,
        "false",
        "Store pushes that conflict with what is stored (answered 202). DANGEROUS.",
    ),
    Option(
        "push.enable-utf8-names",
        Kind.FLAG,
        "false",
        "Allow UTF-8 characters in metric and label names.",
        note="See [UTF-8 names](http-api.md#utf-8-names).",
    ),
    Option(
        "push.lenient-line-endings",
        Kind.FLAG,
        "false",
        "Accept CRLF line ends and a last line without one.",
        note="The original has no such flag.",
    ),
    Option(
        "log.level",
        Kind.CHOICE,
        "info",
        "Only log messages of this severity or above.",
        metavar="LEVEL",
        choices=("debug", "info", "warn", "error"),
    ),
    Option("log.format", Kind.CHOICE, "logfmt", "Format of log lines.", metavar="FORMAT", choices=("logfmt", "json")),
    _limit("body-bytes", Kind.BYTES, "The largest request body, as sent.", highest=_GIB),
    _limit("decoded-bytes", Kind.BYTES, "The largest request body, after decompression.", highest=4 * _GIB),
    _limit(
        "prepared-bytes",
        Kind.BYTES,
        "What a push may take in memory while it is prepared, as reckoned from its samples, labels and text.",
        lowest=MIB,
        highest=64 * _GIB,
    ),
    _limit(
        "samples-per-push",
        Kind.COUNT,
        "Sample lines of a push, and the families that it describes.",
        highest=100_000_000,
    ),
    _limit("labels-per-series", Kind.COUNT, "Labels of one sample line, le and quantile among them.", highest=10_000),
    _limit("name-bytes", Kind.BYTES, "The longest metric or label name.", highest=64 * KIB),
    _limit("value-bytes", Kind.BYTES, "The longest label value or HELP text, escapes resolved.", highest=16 * MIB),
    _limit(
        "groups",
        Kind.COUNT,
        "Stored groups, those included that only ever had refused pushes.",
        lowest=0,
        highest=10**9,
        note=_UNLIMITED,
    ),
    _limit("families", Kind.COUNT, "Stored families, over all groups.", lowest=0, highest=10**9, note=_UNLIMITED),
    _limit(
        "series",
        Kind.COUNT,
        "Stored series, over all groups; a histogram or summary is one.",
        lowest=0,
        highest=10**9,
        note=_UNLIMITED,
    ),
    _limit(
        "request-seconds",
        Kind.SECONDS,
        "How long a body may take to arrive, and a large push in all.",
        lowest=0.1,
        highest=86_400,
    ),
    _limit(
        "header-seconds",
        Kind.SECONDS,
        "How long request line and headers may take to arrive.",
        lowest=0.1,
        highest=86_400,
    ),
    _limit("connections", Kind.COUNT, "Open connections of one worker process.", highest=1_000_000),
)
"""Every setting. Each that begins with `limit.` sets the field of `Limits` of its name."""


class Config(NamedTuple):
    """The settings of one gateway, normalised.

    Attributes:
        listen_addresses: HOST:PORT, at least one; an empty host is every address.
        web_config_file: File with TLS, authentication, headers and rate limit; "" for none of them.
        telemetry_path: Path of the exposition, without the route prefix.
        external_url: As given; "" if it was not.
        route_prefix: "" or "/x", never with a slash at its end.
        enable_lifecycle: Whether /-/quit works.
        enable_admin_api: Whether wipe works.
        enable_openmetrics: Whether scrapers that ask for OpenMetrics get it.
        disable_consistency_check: Whether conflicting pushes are stored (202).
        enable_utf8_names: Whether metric and label names may have any characters.
        lenient_line_endings: Whether CRLF and a missing last line feed are accepted.
        replica: The label of that name on the gateway's own metrics; "" for the default.
        storage_url: Where the groups are kept.
        storage_password_file: Holds the password of the database server; "" if there is none.
        persistence_file: As given; "" if it was not. `storage_url` includes it already.
        persistence_interval_given: Whether to say that it has no effect.
        workers: Worker processes.
        threads: Threads a worker for reads.
        log_level: debug, info, warn or error.
        log_format: logfmt or json.
        systemd_socket: Whether systemd hands the sockets over.
        flags: Every option's name and value as text, for /api/v1/status.
        limits: What requests, connections and workers may use.
    """

    listen_addresses: tuple[str, ...] = (":9091",)
    web_config_file: str = ""
    telemetry_path: str = "/metrics"
    external_url: str = ""
    route_prefix: str = ""
    enable_lifecycle: bool = False
    enable_admin_api: bool = False
    enable_openmetrics: bool = False
    disable_consistency_check: bool = False
    enable_utf8_names: bool = False
    lenient_line_endings: bool = False
    replica: str = ""
    storage_url: str = "sqlite:pushgateway.db"
    storage_password_file: str = ""
    persistence_file: str = ""
    persistence_interval_given: bool = False
    workers: int = 2
    threads: int = 4
    log_level: str = "info"
    log_format: str = "logfmt"
    systemd_socket: bool = False
    flags: Mapping[str, str] = MappingProxyType({})
    limits: Limits = Limits()


def load(arguments: Mapping[str, Sequence[str]], environ: Mapping[str, str]) -> Config:
    """Make the configuration of flags and environment.

    Args:
        arguments: For each option given on the command line, its name and its values in order ("true" and "false" for a
            FLAG).
        environ: The environment. A flag beats its variable, an empty variable counts as not set, unknown ones are
            ignored: Kubernetes sets PUSHGATEWAY_PORT=tcp://... for a Service of that name.

    Returns:
        The configuration, with `flags` filled in.

    Raises:
        ConfigError: A value cannot be used, is not supported yet, or contradicts another one.
    """
    given = {option.name: found for option in OPTIONS if (found := _given(option, arguments, environ)) is not None}
    texts = {option.name: _checked(option, given.get(option.name)) for option in OPTIONS}
    one = {name: values[-1] for name, values in texts.items()}
    storage_url = _storage_url(one, given)
    return Config(
        listen_addresses=texts["web.listen-address"],
        web_config_file=one["web.config.file"],
        telemetry_path=_telemetry_path(one["web.telemetry-path"], _spelling("web.telemetry-path", given)),
        external_url=one["web.external-url"],
        route_prefix=_route_prefix(one["web.route-prefix"], one["web.external-url"], given),
        enable_lifecycle=one["web.enable-lifecycle"] == "true",
        enable_admin_api=one["web.enable-admin-api"] == "true",
        enable_openmetrics=one["web.enable-openmetrics"] == "true",
        disable_consistency_check=one["push.disable-consistency-check"] == "true",
        enable_utf8_names=one["push.enable-utf8-names"] == "true",
        lenient_line_endings=one["push.lenient-line-endings"] == "true",
        replica=one["web.replica"],
        storage_url=storage_url,
        storage_password_file=_password_file(one["storage.password-file"], storage_url, given),
        persistence_file=one["persistence.file"],
        persistence_interval_given="persistence.interval" in given,
        workers=int(one["web.workers"]),
        threads=int(one["web.threads"]),
        log_level=one["log.level"],
        log_format=one["log.format"],
        systemd_socket=one["web.systemd-socket"] == "true",
        flags=MappingProxyType({name: ",".join(map(redact, values)) for name, values in texts.items()}),
        limits=_limits(one),
    )


def _limits(texts: Mapping[str, str]) -> Limits:
    readers: Mapping[Kind, Callable[[str, str], float]] = {
        Kind.BYTES: byte_count,
        Kind.COUNT: lambda text, _: int(text),
        Kind.SECONDS: lambda text, setting: float(duration_seconds(text, setting)),
    }
    values: dict[str, Any] = {
        option.name.removeprefix("limit.").replace("-", "_"): readers[option.kind](texts[option.name], option.flag)
        for option in OPTIONS
        if option.name.startswith("limit.")
    }
    limits = Limits(**values)
    # What is fixed follows what was raised: a body has to be held, and its lines get the group's labels.
    return limits._replace(
        buffered_bytes=max(limits.buffered_bytes, limits.body_bytes + limits.body_bytes // 2),
        rendered_bytes=max(limits.rendered_bytes, limits.prepared_bytes // 10),
    )


class _Given(NamedTuple):
    """What the operator wrote for one option, and how it is spelt in messages."""

    spelling: str
    values: tuple[str, ...]


def _given(option: Option, arguments: Mapping[str, Sequence[str]], environ: Mapping[str, str]) -> _Given | None:
    values = tuple(arguments.get(option.name, ()))
    if values:
        if len(values) > 1 and option.kind is not Kind.ADDRESSES:
            raise ConfigError(option.flag, f"given {len(values)} times, expected once")
        return _Given(option.flag, values)
    text = environ.get(option.env, "").strip()
    if not text:
        return None
    if option.kind is Kind.ADDRESSES:
        # Templates that join lists leave a comma too many.
        parts = tuple(part for part in map(str.strip, text.split(",")) if part)
        return _Given(option.env, parts) if parts else None
    return _Given(option.env, (text,))


def _checked(option: Option, given: _Given | None) -> tuple[str, ...]:
    """Check and normalise an option's values; the result is what /api/v1/status shows."""
    values = given.values if given else (option.default,)
    spelling = given.spelling if given else option.flag
    return tuple(_one(option, value, spelling) for value in values)


def _one(option: Option, value: str, spelling: str) -> str:
    if "\0" in value:
        raise ConfigError(spelling, f"{shown(value)} holds a NUL character")
    if not value.isascii() and re.search("[\ud800-\udfff]", value):
        # How Python hands on the bytes of an argument or a variable that it could not decode.
        raise ConfigError(spelling, f"{shown(value)} is not UTF-8")
    match option.kind:
        case Kind.FLAG:
            return _truth(value, spelling)
        case Kind.COUNT:
            if not re.fullmatch(r"[0-9]{1,10}", value) or not option.lowest <= int(value) <= option.highest:
                raise ConfigError(
                    spelling, f"{shown(value)} is not a whole number from {option.lowest:.0f} to {option.highest:.0f}"
                )
            return str(int(value))
        case Kind.BYTES:
            size = byte_count(value, spelling)
            _check_range(option, size, value, spelling)
            return bytes_text(size)
        case Kind.SECONDS:
            # A bare number is one of seconds, which no duration of Go's can be, but for 0.
            text = f"{value}s" if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) else value
            seconds = duration_seconds(text, spelling)
            _check_range(option, float(seconds), value, spelling)
            return go_duration(seconds)
        case Kind.CHOICE if value not in option.choices:
            raise ConfigError(spelling, f"{shown(value)} is not one of {', '.join(option.choices)}")
        case Kind.DURATION:
            return go_duration(duration_seconds(value, spelling))
        case Kind.ADDRESSES:
            split_address(value, spelling)
    return value


def _check_range(option: Option, number: float, value: str, spelling: str) -> None:
    if not option.lowest <= number <= option.highest:
        raise ConfigError(spelling, f"{shown(value)} is out of range, expected {option.unit}")


def _truth(value: str, spelling: str) -> str:
    match value.lower():
        case "true" | "1" | "yes" | "on":
            return "true"
        case "false" | "0" | "no" | "off":
            return "false"
    raise ConfigError(spelling, f"{shown(value)} is not true or false")


def _spelling(name: str, given: Mapping[str, _Given]) -> str:
    return given[name].spelling if name in given else f"--{name}"


_TAKEN = re.compile(r"/|/status|/metrics/.*|/-/.*|/api(/.*)?|/static(/.*)?")


def _telemetry_path(path: str, spelling: str) -> str:
    if not re.fullmatch(r"/[^\s?#%]*", path) or "//" in path:
        raise ConfigError(spelling, f"{shown(path)} is not a path such as /metrics")
    if _TAKEN.fullmatch(path):
        raise ConfigError(spelling, f"{shown(path)} is taken by another page of the gateway")
    return path


def _route_prefix(prefix: str, external_url: str, given: Mapping[str, _Given]) -> str:
    """Normalise the prefix as the original does: the external URL's path unless given, `/` is none."""
    spelling = _spelling("web.route-prefix", given)
    external_path = _url_path(external_url, _spelling("web.external-url", given))
    prefix = prefix or external_path
    if not prefix.strip("/"):
        return ""
    if re.search(r"[\s?#%]|//", prefix):
        raise ConfigError(spelling, f"{shown(prefix)} is not a path such as /gateway")
    return "/" + prefix.strip("/")


def _url_path(url: str, spelling: str) -> str:
    """The decoded path of an external URL; a bare path is allowed, as in the original."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        reason = f": {error}" if redact(url) == url else ""  # which may quote a part of the password
        raise ConfigError(spelling, f"{shown(url)} is not a URL{reason}") from error
    if re.search(r"[\s\"']", url) or (parts.scheme and parts.scheme not in ("http", "https")):
        raise ConfigError(spelling, f"{shown(url)} is not a URL such as https://example.org/gateway")
    return unquote(parts.path)


def _storage_url(texts: Mapping[str, str], given: Mapping[str, _Given]) -> str:
    persistence_file = texts["persistence.file"]
    if not persistence_file:
        return texts["storage.url"]
    if "storage.url" in given:
        first, second = given["persistence.file"].spelling, given["storage.url"].spelling
        raise ConfigError(
            first, f"{shown(persistence_file)} cannot be used together with {second}, expected one of them"
        )
    return f"sqlite:{persistence_file}"


def _password_file(path: str, storage_url: str, given: Mapping[str, _Given]) -> str:
    # Else who forgets the URL, or misspells its variable, would have everything in a file of SQLite.
    if path and not is_shared(storage_url):
        raise ConfigError(
            _spelling("storage.password-file", given),
            f"{shown(path)} is of no use to {shown(storage_url)}, expected --storage.url=postgresql://... beside it",
        )
    return path
