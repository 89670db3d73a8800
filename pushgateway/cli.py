"""What has the operator asked for on the command line, and with which exit code does it end?

Every flag of the gateway is made of `config.OPTIONS`, every subcommand is a module of `commands`. Exit codes: 0 stopped
or done, 1 the start or the command failed, 2 a flag or value that cannot be used.
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Final

import click

from pushgateway import __version__
from pushgateway.commands import find_commands
from pushgateway.commands.flags import given, setting_flag
from pushgateway.config import OPTIONS, Config, load
from pushgateway.errors import CommandError, ConfigError, PushgatewayError
from pushgateway.manual import manual_page
from pushgateway.storage import parse_url
from pushgateway.temporary import MEMORY_DIRECTORY, TemporaryDirectory, disk_directories, make_directory
from pushgateway.values import shown

__all__ = ["command", "main", "serve"]

_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

_COUNTER_BYTES: Final = 256 * 1024
"""Room for the counters of one process: two files of 64 KiB, twice as large when many kinds of answers are counted."""

_HELP_COLUMNS: Final = 80


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Without the program's name; the default is the process's own.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = command(serve).main(words, prog_name="pushgateway", standalone_mode=False)
    except click.ClickException as error:
        return _refused(re.sub(r"\s+", " ", error.format_message()).rstrip("."))
    except ConfigError as error:
        return _refused(str(error))
    except PushgatewayError as error:
        print(f"pushgateway: error: {error}", file=sys.stderr)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 0
    return int(code or 0)


def _refused(problem: str) -> int:
    print(f"pushgateway: error: {problem}; try --help", file=sys.stderr)
    return 2


def command(run: Callable[[Config], int]) -> click.Group:
    """Make the command line: a group that has the subcommands, and serves when it is given none.

    Args:
        run: What to do with the configuration; returns the exit code.
    """

    def begin(**values: Any) -> int:
        arguments = given(values)
        subcommand = click.get_current_context().invoked_subcommand
        if subcommand is None:
            return run(load(arguments, os.environ))
        for name in arguments:
            raise ConfigError(f"--{name}", f"stands before {subcommand}, which does not see it, expected behind")
        # So that a command leaves nothing half done behind, however it is stopped; nohup's is not to be.
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        return 0

    return _Program(
        callback=begin,
        invoke_without_command=True,
        subcommand_metavar="[COMMAND [ARGS]...]",
        help="Keep the metrics of short-lived jobs for Prometheus to scrape.",
        epilog="Every flag can be set in the environment: PUSHGATEWAY_WEB_WORKERS=4 is --web.workers=4. Flags win.",
        params=[*map(setting_flag, OPTIONS), *_informational()],
        context_settings={"help_option_names": ["-h", "--help", "--help-long"], "max_content_width": _HELP_COLUMNS},
    )


class _Program(click.Group):
    """A group that speaks of arguments, most of its users never giving a command, and whose commands can be stopped."""

    def invoke(self, ctx: click.Context) -> Any:
        """Serve, or run the subcommand; one that is interrupted fails, where a gateway that is stopped does not."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if ctx.invoked_subcommand is None:
                raise
            raise CommandError("interrupted") from None

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return [found.name or "" for found in find_commands()]

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        return next((found for found in find_commands() if found.name == cmd_name), None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"unexpected argument {shown(args[0])}", ctx)
        return super().resolve_command(ctx, args)


def serve(config: Config) -> int:
    """Run the gateway until it is stopped.

    The counters of all workers live in a fresh directory, whatever PROMETHEUS_MULTIPROC_DIR was: a directory from
    outside holds another program's counters.

    Returns:
        0 when it was stopped, 1 when it could not start.

    Raises:
        ConfigError: The storage URL cannot be used.
        StartError: There is no room for the counters.
    """
    # Until gunicorn sets its own handlers: leave in good order, with everything closed and removed.
    for number in _STOP_SIGNALS:
        signal.signal(number, _leave)
    # Workers leave through os._exit (server.arbiter), so that only this process removes the directory.
    with contextlib.ExitStack() as at_exit:
        with _signals_blocked():
            directory = at_exit.enter_context(_counters_directory(config))
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory.path
            os.environ.pop("prometheus_multiproc_dir", None)  # its old spelling
            gc.disable()  # as in __main__
            # Not at the top: prometheus_client chooses its multiprocess mode when it is first imported.
            from pushgateway import server  # noqa: PLC0415

            gc.freeze()
            gc.enable()
        return server.run(config)


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Put stop signals off: Python's import system swallows exceptions at some points, and with one the signal."""
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


def _counters_directory(config: Config) -> TemporaryDirectory:
    """Make the directory of the counters: in memory, else where temporary files go, else beside the database."""
    path = parse_url(config.storage_url)
    beside = [os.path.dirname(os.path.abspath(path))] if path else []
    return make_directory(
        [MEMORY_DIRECTORY, *disk_directories(), *beside],
        # One more than the workers: at a reload a new one begins before an old one ends.
        room_bytes=_COUNTER_BYTES * (config.workers + 1),
        purpose="the counters",
    )


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


def version_text() -> str:
    """Return what --version prints, in the manner of the original."""
    return (
        f"pushgateway, version {__version__} (branch: , revision: )\n"
        f"  python version:   {platform.python_version()}\n"
        f"  platform:         {platform.system().lower()}/{platform.machine()}"
    )


def _informational() -> list[click.Option]:
    return [
        click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
        ),
        click.Option(
            ["--help-man"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_help_man,
            help="Show the manual page: pushgateway --help-man | man -l -.",
        ),
    ]


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        click.echo(version_text())
        context.exit()


def _help_man(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        click.echo(manual_page(context))
        context.exit()
