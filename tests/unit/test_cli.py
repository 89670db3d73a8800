from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise

import click
import pytest

from pushgateway import __main__, __version__, cli
from pushgateway.commands import find_commands
from pushgateway.config import OPTIONS, Config, Kind
from pushgateway.errors import CommandError, ConfigError, StoreBusyError


class Run:
    """What the command line hands on instead of serving."""

    def __init__(self) -> None:
        self.configs: list[Config] = []

    def __call__(self, config: Config) -> int:
        """Note the configuration and end at once."""
        self.configs.append(config)
        return 0


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    served = Run()
    monkeypatch.setattr(cli, "serve", served)
    for name in list(os.environ):
        if name.startswith("PUSHGATEWAY_"):
            monkeypatch.delenv(name)
    return served


def test_serves_without_a_command(run: Run) -> None:
    """Without arguments the gateway serves with the defaults."""
    assert cli.main([]) == 0
    assert run.configs[0].listen_addresses == (":9091",)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--web.listen-address=:1", "--web.listen-address=:2"], {"listen_addresses": (":1", ":2")}),
        (["--web.listen-address", ":1"], {"listen_addresses": (":1",)}),
        (["--web.enable-lifecycle"], {"enable_lifecycle": True}),
        (["--web.enable-lifecycle", "--no-web.enable-lifecycle"], {"enable_lifecycle": False}),
        (["--no-push.enable-utf8-names", "--web.config.file="], {"enable_utf8_names": False}),
        (["--push.enable-utf8-names"], {"enable_utf8_names": True}),
        (["--persistence.file="], {"storage_url": "sqlite:pushgateway.db"}),
        (["--storage.url=memory:", "--web.workers=1", "--web.threads=2"], {"workers": 1, "threads": 2}),
    ],
)
def test_flags(run: Run, arguments: list[str], expected: dict[str, object]) -> None:
    """Flags are spelt as kingpin does: with = or a blank, repeatable where the table says so, with --no- forms."""
    assert cli.main(arguments) == 0
    assert {name: getattr(run.configs[0], name) for name in expected} == expected


def test_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line reads the process's environment, and a flag beats it."""
    monkeypatch.setenv("PUSHGATEWAY_WEB_WORKERS", "7")
    monkeypatch.setenv("PUSHGATEWAY_LOG_LEVEL", "error")
    assert cli.main(["--log.level=debug"]) == 0
    assert (run.configs[0].workers, run.configs[0].log_level) == (7, "debug")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--no-such-flag"], ["--no-such-flag"]),
        (["--web.workers=0"], ["--web.workers", "'0'"]),
        (["--web.workers"], ["--web.workers", "requires an argument"]),
        (["--web.workers=1", "--web.workers=2"], ["--web.workers", "2 times"]),
        (["--web.enable-lifecycle=yes"], ["--web.enable-lifecycle", "value"]),
        (["nonsense"], ["unexpected argument 'nonsense'"]),
        (["--web.workers=4", "nonsense"], ["unexpected argument 'nonsense'"]),
        (["backup"], ["FILE"]),
        (["backup", "x", "y"], ["y"]),
        (["backup", "x", "--web.workers=1"], ["--web.workers"]),
        (["backup", "x", "--storage.url=memory:"], ["--storage.url", "memory:", "expected sqlite:FILE"]),
        (["--storage.url=sqlite:x", "backup", "y"], ["--storage.url: stands before backup"]),
        (["--", "--web.workers=1"], ["unexpected argument '--web.workers=1'"]),
        (["postgres://me:secret@h/db"], ["unexpected argument 'postgres://me:***@h/db'"]),
    ],
)
def test_usage_errors(run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]) -> None:
    """A flag or value that cannot be used ends with exit code 2 and one line on stderr, and nothing is served."""
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("pushgateway: error: ")
    assert [word for word in words if word not in captured.err] == []
    assert run.configs == []


def test_the_manual_page(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The page for man(7) has every flag, every command, and no line that roff would take for one of its requests."""
    assert cli.main(["--help-man"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('.TH "PUSHGATEWAY" "1"')
    assert {line.partition(" ")[0] for line in lines if line.startswith((".", "'"))} == {
        ".TH",
        ".SH",
        ".PP",
        ".TP",
        ".br",
    }
    terms = " ".join(line for before, line in pairwise(lines) if before == ".TP").replace("\\-", "-")
    assert [option.name for option in OPTIONS if f"{option.name} " not in f"{terms} ".replace("\\", " ")] == []
    assert [one.name for one in find_commands() if f"\\fB{one.name}\\fR" not in terms] == []
    assert run.configs == []


@pytest.mark.parametrize("flag", ["-h", "--help", "--help-long"])
def test_help(run: Run, capsys: pytest.CaptureFixture[str], flag: str) -> None:
    """Help lists every option of the table with its default and what it is about."""
    assert cli.main([flag]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = re.sub(r"\s+", " ", " ".join(lines))
    for option in OPTIONS:
        assert option.help in text
        if option.kind is Kind.FLAG:
            assert f" --[no-]{option.name} " in text
        else:
            assert f" {option.flag} {option.metavar} " in text
            assert not option.default or f"default: {option.default}]" in text
    assert "vsock:// is not supported yet" in text
    assert " --help-man " in text
    for subcommand in find_commands():
        assert f" {subcommand.name} {subcommand.get_short_help_str(limit=70)}" in text
    assert max(map(len, lines)) <= 80
    assert run.configs == []


def test_version(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The version goes to stdout and begins as the original's does."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"pushgateway, version {__version__} (branch: ")
    assert run.configs == []


def test_no_room_for_the_counters(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no directory can be made for the counters, one line says so, and the exit code is 1."""
    monkeypatch.setattr(cli, "MEMORY_DIRECTORY", "/dev/null")
    monkeypatch.setattr(cli, "disk_directories", list)
    assert cli.main(["--storage.url=sqlite:/dev/null/x.db", "--web.listen-address=127.0.0.1:0"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("pushgateway: error: cannot make a temporary directory for the counters: /dev/null: Not a")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("failure", "code", "error"),
    [
        (None, 0, ""),
        (CommandError("cannot do it: no room"), 1, "pushgateway: error: cannot do it: no room\n"),
        (StoreBusyError("others are at work"), 1, "pushgateway: error: others are at work\n"),
        (ConfigError("--by", "'x' is not a number"), 2, "pushgateway: error: --by: 'x' is not a number; try --help\n"),
        (KeyboardInterrupt(), 1, "pushgateway: error: interrupted\n"),
    ],
)
def test_subcommands(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: BaseException | None,
    code: int,
    error: str,
) -> None:
    """A subcommand runs instead of the gateway; when it fails, one line says why, and 1 or 2 whose fault it is."""

    def act() -> None:
        if failure is not None:
            raise failure

    monkeypatch.setattr(cli, "find_commands", lambda: (click.Command("act", callback=act),))
    assert cli.main(["act"]) == code
    assert capsys.readouterr().err == error
    assert run.configs == []


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the handlers of signals back that a subcommand sets."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGHUP)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.usefixtures("run", "handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_subcommand_that_is_stopped(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    """SIGTERM, or the end of its terminal, ends a subcommand like Ctrl-C, so that it can remove what it has begun."""
    removed: list[str] = []

    def act() -> None:
        try:
            signal.raise_signal(number)
        finally:
            removed.append("half a copy")

    monkeypatch.setattr(cli, "find_commands", lambda: (click.Command("act", callback=act),))
    signal.signal(number, signal.SIG_DFL)
    assert cli.main(["act"]) == 1
    assert removed == ["half a copy"]


@pytest.mark.usefixtures("run", "handlers")
def test_a_subcommand_under_nohup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that was ignored when the program began stays so."""
    monkeypatch.setattr(
        cli, "find_commands", lambda: (click.Command("act", callback=lambda: signal.raise_signal(signal.SIGHUP)),)
    )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert cli.main(["act"]) == 0


def test_subcommands_are_sorted_by_name() -> None:
    """Each subcommand has a name of its own, and they are listed in that order."""
    names = [subcommand.name or "" for subcommand in find_commands()]
    assert names == sorted(set(names))


def test_commands_load_neither_server_nor_counters() -> None:
    """The command line with all commands leaves prometheus_client alone, so that serving can still choose its mode."""
    code = "import sys; from pushgateway import cli; cli.find_commands(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"prometheus_client", "flask", "gunicorn", "pushgateway.server", "pushgateway.web"} & loaded


def hide(*missing: str) -> Callable[[str], object]:
    """Make a find_spec for a machine on which some modules are not installed."""

    def find_spec(name: str) -> object:
        if name.partition(".")[0] in missing:
            if "." in name:
                raise ModuleNotFoundError(name)
            return None
        return object()

    return find_spec


@pytest.mark.parametrize("missing", ["click", "flask", "google"])
def test_missing_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str) -> None:
    """Without the modules of the extra, the program says what to install and exits 1."""
    monkeypatch.setattr(__main__.importlib.util, "find_spec", hide(missing))
    assert __main__.main() == 1
    error = capsys.readouterr().err
    assert "pip install 'pymetrics-pushgateway[gateway]'" in error
    assert missing in error
    assert error.count("\n") == 1


def test_main_module_imports_only_the_standard_library() -> None:
    """Importing pushgateway.__main__ imports nothing that a base install lacks."""
    code = (
        "import sys, pushgateway.__main__;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["__main__", "pushgateway"]
