from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushgateway.config import OPTIONS, Config, Kind, Limits, load
from pushgateway.errors import ConfigError
from pushgateway.values import duration_seconds, split_address

FLAGS_OF_THE_ORIGINAL = {
    "web.systemd-socket": "false",
    "web.listen-address": ":9091",
    "web.config.file": "",
    "web.telemetry-path": "/metrics",
    "web.external-url": "",
    "web.route-prefix": "",
    "web.enable-lifecycle": "false",
    "web.enable-admin-api": "false",
    "persistence.file": "",
    "persistence.interval": "5m",
    "push.disable-consistency-check": "false",
    "push.enable-utf8-names": "false",
    "log.level": "info",
    "log.format": "logfmt",
}


def test_original_flags() -> None:
    """Every flag of the original is there, with its spelling and its default."""
    defaults = {option.name: option.default for option in OPTIONS}
    assert {name: defaults.get(name) for name in FLAGS_OF_THE_ORIGINAL} == FLAGS_OF_THE_ORIGINAL


def test_table_is_well_formed() -> None:
    """Each option is named once, helps with a sentence, and its default is a value that it accepts."""
    assert len({option.env for option in OPTIONS}) == len(OPTIONS)
    for option in OPTIONS:
        assert option.help.endswith(".")
        assert bool(option.metavar) == (option.kind is not Kind.FLAG)
        if option.default:
            load({option.name: [option.default]}, {})


def test_defaults() -> None:
    """Without flags and environment, the configuration is the dataclass's own defaults."""
    loaded = load({}, {})
    assert loaded._replace(flags={}) == Config()


def test_environment_names() -> None:
    """A variable is PUSHGATEWAY_ and the flag in capitals, with dots and dashes as underscores."""
    names = {option.name: option.env for option in OPTIONS}
    assert names["web.listen-address"] == "PUSHGATEWAY_WEB_LISTEN_ADDRESS"
    assert names["web.config.file"] == "PUSHGATEWAY_WEB_CONFIG_FILE"


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ({}, {"PUSHGATEWAY_WEB_WORKERS": "3"}, {"workers": 3}),
        ({"web.workers": ["4"]}, {"PUSHGATEWAY_WEB_WORKERS": "3"}, {"workers": 4}),
        ({"web.workers": ["4"]}, {"PUSHGATEWAY_WEB_WORKERS": "nonsense"}, {"workers": 4}),
        ({}, {"PUSHGATEWAY_WEB_WORKERS": ""}, {"workers": 2}),
        ({}, {"PUSHGATEWAY_PORT": "tcp://10.0.0.1:9091", "PUSHGATEWAY_SERVICE_HOST": "10.0.0.1"}, {"workers": 2}),
        ({}, {"PUSHGATEWAY_WEB_LISTEN_ADDRESS": ":1, [::1]:2"}, {"listen_addresses": (":1", "[::1]:2")}),
        ({}, {"PUSHGATEWAY_WEB_LISTEN_ADDRESS": ":1,, :2 ,"}, {"listen_addresses": (":1", ":2")}),
        ({}, {"PUSHGATEWAY_WEB_LISTEN_ADDRESS": " , "}, {"listen_addresses": (":9091",)}),
        ({"web.listen-address": [":3", ":4"]}, {}, {"listen_addresses": (":3", ":4")}),
        (
            {"web.listen-address": [":3"]},
            {"PUSHGATEWAY_WEB_LISTEN_ADDRESS": ":1,:2"},
            {"listen_addresses": (":3",)},
        ),
        ({}, {"PUSHGATEWAY_WEB_ENABLE_LIFECYCLE": "TRUE"}, {"enable_lifecycle": True}),
        ({}, {"PUSHGATEWAY_WEB_ENABLE_LIFECYCLE": "0"}, {"enable_lifecycle": False}),
        (
            {"web.enable-lifecycle": ["false"]},
            {"PUSHGATEWAY_WEB_ENABLE_LIFECYCLE": "1"},
            {"enable_lifecycle": False},
        ),
        ({"push.lenient-line-endings": ["true"]}, {}, {"lenient_line_endings": True}),
        ({"push.disable-consistency-check": ["true"]}, {}, {"disable_consistency_check": True}),
        ({"push.enable-utf8-names": ["false"]}, {}, {"enable_utf8_names": False}),
        ({"push.enable-utf8-names": ["true"]}, {}, {"enable_utf8_names": True}),
        ({"log.level": ["warn"], "log.format": ["json"]}, {}, {"log_level": "warn", "log_format": "json"}),
        ({"persistence.interval": ["1h30m"]}, {}, {"persistence_interval_given": True}),
        ({"persistence.file": ["a/b.db"]}, {}, {"storage_url": "sqlite:a/b.db", "persistence_file": "a/b.db"}),
        ({"persistence.file": [""]}, {}, {"storage_url": "sqlite:pushgateway.db"}),
        ({"persistence.file": [""], "storage.url": ["memory:"]}, {}, {"storage_url": "memory:"}),
        ({"web.systemd-socket": ["true"]}, {}, {"systemd_socket": True}),
        ({"limit.body-bytes": ["10MB"]}, {}, {"limits": Limits(body_bytes=10_000_000)}),
        ({"limit.body-bytes": ["4096"]}, {}, {"limits": Limits(body_bytes=4096)}),
        ({"limit.decoded-bytes": ["1.5 gib"]}, {}, {"limits": Limits(decoded_bytes=3 << 29)}),
        ({}, {"PUSHGATEWAY_LIMIT_SAMPLES_PER_PUSH": "7"}, {"limits": Limits(samples_per_push=7)}),
        ({"limit.series": ["0"], "limit.groups": ["5"]}, {}, {"limits": Limits(series=0, groups=5)}),
        ({"limit.header-seconds": ["0.5"]}, {}, {"limits": Limits(header_seconds=0.5)}),
        ({"limit.request-seconds": ["2m"]}, {}, {"limits": Limits(request_seconds=120.0)}),
    ],
)
def test_load(arguments: dict[str, list[str]], environ: dict[str, str], expected: dict[str, object]) -> None:
    """A flag beats its variable, an empty variable is none, a comma repeats, and unknown variables are ignored."""
    config = load(arguments, environ)
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        ({"web.workers": ["0"]}, {}, ["--web.workers", "'0'", "1 to 256"]),
        ({"web.workers": ["two"]}, {}, ["--web.workers", "'two'", "whole number"]),
        ({"web.workers": ["²"]}, {}, ["--web.workers", "'²'", "whole number"]),
        ({}, {"PUSHGATEWAY_WEB_THREADS": "257"}, ["PUSHGATEWAY_WEB_THREADS", "'257'", "1 to 256"]),
        ({"web.workers": ["1", "2"]}, {}, ["--web.workers", "2 times", "once"]),
        ({}, {"PUSHGATEWAY_WEB_ENABLE_LIFECYCLE": "maybe"}, ["PUSHGATEWAY_WEB_ENABLE_LIFECYCLE", "'maybe'", "true"]),
        ({"web.listen-address": ["9091"]}, {}, ["--web.listen-address", "'9091'", ":9091"]),
        ({"web.listen-address": [":65536"]}, {}, ["--web.listen-address", "':65536'"]),
        ({"web.listen-address": ["::1:9091"]}, {}, ["--web.listen-address", "'::1:9091'", "[::1]:9091"]),
        ({"web.listen-address": ["vsock://:1"]}, {}, ["--web.listen-address", "vsock", "not supported yet"]),
        ({"log.level": ["trace"]}, {}, ["--log.level", "'trace'", "debug, info, warn, error"]),
        ({"log.format": ["xml"]}, {}, ["--log.format", "'xml'", "logfmt, json"]),
        ({"persistence.interval": ["9" * 60 + "h"]}, {}, ["--persistence.interval", "too long", "2562047h47m16."]),
        ({"web.telemetry-path": ["/\udcff"]}, {}, ["--web.telemetry-path", "UTF-8"]),
        ({}, {"PUSHGATEWAY_STORAGE_URL": "sqlite:\udce9"}, ["PUSHGATEWAY_STORAGE_URL", "UTF-8"]),
        ({"log.level": ["x" * 100_000]}, {}, ["--log.level", "xxx...'"]),
        ({"persistence.interval": ["5"]}, {}, ["--persistence.interval", "'5'", "5m"]),
        ({"web.telemetry-path": ["metrics"]}, {}, ["--web.telemetry-path", "'metrics'", "/metrics"]),
        ({"web.telemetry-path": ["/"]}, {}, ["--web.telemetry-path", "'/'", "taken"]),
        ({"web.telemetry-path": ["/-/healthy"]}, {}, ["--web.telemetry-path", "'/-/healthy'", "taken"]),
        ({"web.telemetry-path": ["/metrics/job/a"]}, {}, ["--web.telemetry-path", "taken"]),
        ({"web.external-url": ["http://h:b/x"]}, {}, ["--web.external-url", "'http://h:b/x'"]),
        ({"web.external-url": ["ftp://h/"]}, {}, ["--web.external-url", "'ftp://h/'", "https://"]),
        ({"web.external-url": ['"http://h/"']}, {}, ["--web.external-url", "URL"]),
        ({"web.route-prefix": ["/a b"]}, {}, ["--web.route-prefix", "'/a b'"]),
        (
            {"persistence.file": ["a"], "storage.url": ["memory:"]},
            {},
            ["--persistence.file", "'a'", "--storage.url", "one of them"],
        ),
        (
            {"storage.url": ["memory:"]},
            {"PUSHGATEWAY_PERSISTENCE_FILE": "a"},
            ["PUSHGATEWAY_PERSISTENCE_FILE", "--storage.url"],
        ),
        (
            {"storage.password-file": ["/run/p"]},
            {},
            ["--storage.password-file", "'/run/p'", "'sqlite:pushgateway.db'", "--storage.url=postgresql://"],
        ),
        (
            {"storage.url": ["memory:"]},
            {"PUSHGATEWAY_STORAGE_PASSWORD_FILE": "p"},
            ["PUSHGATEWAY_STORAGE_PASSWORD_FILE"],
        ),
        ({"storage.url": ["sqlite:a\0b"]}, {}, ["--storage.url", "NUL"]),
        ({"limit.body-bytes": ["0"]}, {}, ["--limit.body-bytes", "'0'", "1 to 1GiB"]),
        ({"limit.body-bytes": ["2GiB"]}, {}, ["--limit.body-bytes", "'2GiB'", "1 to 1GiB"]),
        ({"limit.body-bytes": ["1.5"]}, {}, ["--limit.body-bytes", "'1.5'", "64KiB"]),
        ({"limit.body-bytes": ["64 K"]}, {}, ["--limit.body-bytes", "'64 K'", "64KiB"]),
        ({"limit.connections": ["0"]}, {}, ["--limit.connections", "'0'", "1 to 1000000"]),
        ({"limit.groups": ["-1"]}, {}, ["--limit.groups", "'-1'", "0 to 1000000000"]),
        (
            {},
            {"PUSHGATEWAY_LIMIT_HEADER_SECONDS": "0"},
            ["PUSHGATEWAY_LIMIT_HEADER_SECONDS", "'0'", "100ms to 24h0m0s"],
        ),
        ({"limit.request-seconds": ["soon"]}, {}, ["--limit.request-seconds", "'soon'", "30s"]),
    ],
)
def test_refused(arguments: dict[str, list[str]], environ: dict[str, str], words: list[str]) -> None:
    """A value that cannot be used is refused in one line that names flag or variable, the value and what would do."""
    with pytest.raises(ConfigError) as caught:
        load(arguments, environ)
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []
    assert len(message.encode()) < 1000


SECRET = "s3cret"


@pytest.mark.parametrize(
    ("shown", "url"),
    [
        ("postgres://me:***@h/db", "postgres://me:s3cret@h/db"),
        ("postgres://me:***@h/db", "postgres://me:a@s3cret@h/db"),
        ("postgres://me:***@h/db", "postgres://me:s3cret/s3cret@h/db"),
        ("postgres://:***@h/db", "postgres://:s3cret?#@h/db"),
        ("postgres://me@h/db?password=***&x=1", "postgres://me@h/db?password=s3cret&x=1"),
        ("https://h/a@b", "https://h/a@b"),
        ("sqlite:a@b:c", "sqlite:a@b:c"),
    ],
)
def test_passwords_are_not_shown(shown: str, url: str) -> None:
    """Flags show a URL without its password, however careless it is written."""
    flags = load({"storage.url": [url]}, {}).flags
    assert flags["storage.url"] == shown
    assert SECRET not in str(flags)


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        ({"web.external-url": ["ftp://me:s3cret@h/"]}, {}),
        ({"web.external-url": ["http://me:s3cret/x@h/"]}, {}),
        ({"web.external-url": ["http://me:s3cret@h:b/"]}, {}),
        ({"web.external-url": ["http://me:s3cret@[h/"]}, {}),
        ({"log.level": ["https://me:s3cret@h/" + "x" * 1000]}, {}),
        ({}, {"PUSHGATEWAY_WEB_LISTEN_ADDRESS": "http://me:s3cret@h/,:1"}),
    ],
)
def test_errors_tell_no_password(arguments: dict[str, list[str]], environ: dict[str, str]) -> None:
    """An error names a URL without its password."""
    with pytest.raises(ConfigError) as caught:
        load(arguments, environ)
    assert SECRET not in str(caught.value)
    assert "me:***@" in str(caught.value)


@pytest.mark.parametrize(
    ("prefix", "external_url", "expected"),
    [
        ("", "", ""),
        ("/", "", ""),
        ("//", "", ""),
        ("x", "", "/x"),
        ("/x/", "", "/x"),
        ("x/y/", "", "/x/y"),
        ("", "http://example.org", ""),
        ("", "http://example.org/", ""),
        ("", "http://example.org/gw/", "/gw"),
        ("", "https://example.org:8443/a/b", "/a/b"),
        ("", "foo/bar", "/foo/bar"),
        ("/", "http://example.org/gw", ""),
        ("/other", "http://example.org/gw", "/other"),
    ],
)
def test_route_prefix(prefix: str, external_url: str, expected: str) -> None:
    """The prefix is the external URL's path unless given, has a slash before and none behind; / is none."""
    config = load({"web.route-prefix": [prefix], "web.external-url": [external_url]}, {})
    assert config.route_prefix == expected


def test_flags_of_the_status() -> None:
    """All options are listed as text, durations as Go prints them, booleans as words, addresses with commas."""
    flags = load({"web.listen-address": [":1", ":2"], "web.enable-admin-api": ["TRUE"]}, {}).flags
    assert set(flags) == {option.name for option in OPTIONS}
    assert flags["persistence.interval"] == "5m0s"
    assert flags["web.enable-admin-api"] == "true"
    assert flags["web.listen-address"] == ":1,:2"
    assert flags["web.workers"] == "2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0", "0s"),
        ("0s", "0s"),
        ("5m", "5m0s"),
        ("+5m", "5m0s"),
        ("90s", "1m30s"),
        ("1h30m", "1h30m0s"),
        ("1.5h", "1h30m0s"),
        ("100h", "100h0m0s"),
        (".5s", "500ms"),
        ("1.s", "1s"),
        ("250ms", "250ms"),
        ("1500us", "1.5ms"),
        ("1µs", "1µs"),
        ("1μs", "1µs"),
        ("12ns", "12ns"),
        ("1h2m3.5s", "1h2m3.5s"),
        ("1.0000000019s", "1.000000001s"),
        ("0.9ns", "0s"),
        ("2562047h47m16.854775807s", "2562047h47m16.854775807s"),
    ],
)
def test_durations(text: str, shown: str) -> None:
    """Durations are read and printed as Go does."""
    assert load({"persistence.interval": [text]}, {}).flags["persistence.interval"] == shown


@pytest.mark.parametrize(
    "text", ["", "5", "-5m", "m", "5 m", "1d", "1h 30m", ".s", "1e3s", "٣s", "2562047h47m16.854775808s", "9" * 100_000]
)
def test_bad_durations(text: str) -> None:
    """What Go does not take for a duration is refused; so are a negative one and one of more than 292 years."""
    with pytest.raises(ConfigError):
        duration_seconds(text, "--x")


@given(st.integers(0, 10**6))
def test_duration_round_trip(milliseconds: int) -> None:
    """A duration that has been printed reads as the same duration."""
    shown = load({"persistence.interval": [f"{milliseconds}ms"]}, {}).flags["persistence.interval"]
    assert duration_seconds(shown, "--x") == Decimal(milliseconds) / 1000


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (":9091", ("", 9091)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("localhost:9091", ("localhost", 9091)),
        ("[::1]:0", ("::1", 0)),
        ("[::]:9091", ("::", 9091)),
        ("[fe80::1%eth0]:9091", ("fe80::1%eth0", 9091)),
    ],
)
def test_split_address(address: str, expected: tuple[str, int]) -> None:
    """An address splits into a host without brackets and a port."""
    assert split_address(address) == expected


def test_limits_are_positive() -> None:
    """No limit is unlimited by default."""
    assert all(value > 0 for value in Limits())


def test_every_limit_flag_sets_the_limit_of_its_name() -> None:
    """The flag --limit.NAME sets the field of its name, at its smallest and its largest value, and no other one."""
    options = [option for option in OPTIONS if option.name.startswith("limit.")]
    for option in options:
        field = option.name.removeprefix("limit.").replace("-", "_")
        for value in (option.lowest, option.highest):
            limits = load({option.name: [str(value)]}, {}).limits
            following = {name: getattr(limits, name) for name in ("buffered_bytes", "rendered_bytes")}
            assert limits == Limits()._replace(**{field: value}, **following)
    assert len(options) == 13


def test_fixed_limits_follow_those_that_are_raised() -> None:
    """Where larger bodies are allowed there is room to hold one, and where larger pushes are, their labels may grow."""
    limits = load({"limit.body-bytes": ["200MiB"], "limit.prepared-bytes": ["1GiB"]}, {}).limits
    assert limits.buffered_bytes == 300 << 20
    assert limits.rendered_bytes == (1 << 30) // 10
    smaller = load({"limit.body-bytes": ["1KiB"], "limit.prepared-bytes": ["1MiB"]}, {}).limits
    assert (smaller.buffered_bytes, smaller.rendered_bytes) == (Limits().buffered_bytes, Limits().rendered_bytes)


def test_limits_are_shown_in_one_spelling() -> None:
    """The flags of /api/v1/status show bytes in their largest unit, and durations as Go prints them."""
    given = {"limit.body-bytes": ["1048576"], "limit.header-seconds": ["90"], "limit.series": ["007"]}
    flags = load(given, {}).flags
    assert [flags[name] for name in given] == ["1MiB", "1m30s", "7"]
