"""What can the command `pymetrics` do?"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pymetrics_sdk.command import run_command
from pymetrics_sdk.doctor import examine
from pymetrics_sdk.durations import seconds
from pymetrics_sdk.environment import VARIABLES
from pymetrics_sdk.errors import ConfigError
from pymetrics_sdk.push import Client, Outcome
from pymetrics_sdk.spec import JobSpec
from pymetrics_sdk.target import Target, resolve
from pymetrics_sdk.transport import Deadline
from pymetrics_sdk.version import __version__

__all__ = ["build_parser", "main"]

REFUSED = 1
USAGE = 2
RUN_USAGE = 125
"""As env(1), timeout(1) and docker run: a status that the command itself would hardly give."""

_EPILOG = """\
environment (an option wins over its variable):
{variables}

examples:
  pymetrics run --job backup --schedule '0 3 * * *' --grace 1h -- pg_dump -Fc shop -f shop.dump
  echo 'rows 42' | pymetrics push --job etl --label shard=3
  pymetrics delete --job etl --label shard=3
  pymetrics doctor
"""


class _Parser(argparse.ArgumentParser):
    """A parser that knows the exit status of its usage errors."""

    usage_status = USAGE

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(self.usage_status, f"{self.prog}: {message}\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; docs/reference/cli.md is checked against it."""
    variables = "\n".join(f"  {each.name:<23} {each.help}" for each in VARIABLES)
    parser = _Parser(
        prog="pymetrics",
        description="Metrics of batch jobs: run a command as a job, push and delete metrics, find out why pushes fail.",
        epilog=_EPILOG.format(variables=variables),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pymetrics {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_push(commands)
    _add_delete(commands)
    _add_doctor(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        argv: Without the program's name; default: the process's.
    """
    parser = build_parser()
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        options.parser.error(f"unknown arguments: {' '.join(unknown)}")
    action: Callable[[argparse.Namespace], int] = options.action
    try:
        return action(options)
    except ConfigError as error:
        print(f"pymetrics {options.command}: {error}", file=sys.stderr)
        return RUN_USAGE if options.command == "run" else USAGE


def _add_run(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        usage="pymetrics run [OPTIONS] -- COMMAND [ARG ...]",
        help="run a command as one run of a job",
        description="Run a command as one run of a job: start, heartbeats, duration, result, exit status and resources "
        "are pushed. Input, output and exit status are the command's own.",
        epilog="exit status: the command's; 128+N if signal N ended it; 127 no such command; 126 not executable; "
        "125 wrong usage of pymetrics run. A push that fails never changes it.",
    )
    parser.usage_status = RUN_USAGE
    _add_target(parser)
    parser.add_argument("--schedule", metavar="CRON", help="when the job is due, as a cron expression")
    parser.add_argument("--tz", metavar="ZONE", help="time zone of the schedule, as Europe/Berlin (the machine's)")
    parser.add_argument("--every", metavar="DURATION", help="when the job is due, as an interval")
    parser.add_argument("--grace", metavar="DURATION", help="how late a start may be (5m where there is a schedule)")
    parser.add_argument("--max-runtime", metavar="DURATION", help="how long a run may take; a longer one is a timeout")
    parser.add_argument("--heartbeat", metavar="DURATION", help="interval of signs of life (none)")
    parser.add_argument("--kill-after", metavar="DURATION", help="send SIGTERM after this, SIGKILL 10 s later (never)")
    parser.add_argument("--app-version", metavar="TEXT", default="", help="the application's version")
    parser.add_argument("argv", metavar="-- COMMAND [ARG ...]", nargs=argparse.REMAINDER, help="the command")
    parser.set_defaults(parser=parser, action=_run)


def _add_push(commands: Any) -> None:
    parser = commands.add_parser(
        "push",
        help="push metrics in the text format from a file or standard input",
        description="Push metrics in the text format, from a file or standard input, to a group.",
        epilog="exit status: 0 taken; 1 refused or not reachable; 2 wrong usage.",
    )
    _add_target(parser)
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace the whole group (PUT); default: the families that are pushed (POST)",
    )
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="where to read; - is standard input (-)")
    parser.set_defaults(parser=parser, action=_push)


def _add_delete(commands: Any) -> None:
    parser = commands.add_parser(
        "delete",
        help="delete a group",
        description="Delete a group with all its metrics.",
        epilog="exit status: 0 done, also if there was no such group; 1 refused or not reachable; 2 wrong usage.",
    )
    _add_target(parser)
    parser.set_defaults(parser=parser, action=_delete)


def _add_doctor(commands: Any) -> None:
    parser = commands.add_parser(
        "doctor",
        help="find out whether pushes from here arrive, and if not, why",
        description="Show the settings, resolve, connect, push to a group made for it, and delete that group.",
        epilog="exit status: 0 pushes arrive; 1 they do not; 2 wrong usage.",
    )
    _add_target(parser)
    parser.set_defaults(parser=parser, action=_doctor)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gateway", metavar="URL", default="", help="the gateway (PYMETRICS_GATEWAY_URL)")
    parser.add_argument("--job", metavar="NAME", default="", help="the job's name (PYMETRICS_JOB)")
    parser.add_argument(
        "--label", metavar="NAME=VALUE", action="append", default=[], help="a further grouping label; may be repeated"
    )
    parser.add_argument(
        "--timeout", metavar="DURATION", help="total deadline of the push, retries included (PYMETRICS_TIMEOUT, 5s)"
    )


def _spec(options: argparse.Namespace, *, name: str = "", **more: Any) -> JobSpec:
    return JobSpec.of(
        options.job or name,
        gateway=options.gateway,
        labels=dict(_label(each) for each in options.label),
        timeout=options.timeout,
        on_push_error="log",
        **more,
    )


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError("--label", f"{text!r} is not NAME=VALUE")
    return name, value


def _target(options: argparse.Namespace, *, script: str = "") -> Target:
    target = resolve(_spec(options), now=time.time(), script=script)
    if not target.settings.gateway_url:
        raise ConfigError("gateway", "there is none: give --gateway or set PYMETRICS_GATEWAY_URL")
    return target


def _run(options: argparse.Namespace) -> int:
    command = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not command:
        options.parser.error("no command: expected pymetrics run [OPTIONS] -- COMMAND [ARG ...]")
    spec = _spec(
        options,
        schedule=options.schedule,
        tz=options.tz,
        every=options.every,
        grace=options.grace,
        max_runtime=options.max_runtime,
        heartbeat=options.heartbeat,
        version=options.app_version,
    )
    kill_after = None if options.kill_after is None else seconds(options.kill_after, setting="--kill-after")
    return run_command(spec, command, kill_after_seconds=kill_after)


def _push(options: argparse.Namespace) -> int:
    target = _target(options)
    try:
        body = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    except OSError as error:
        options.parser.error(f"{options.file}: {error.strerror}")
    if body and not body.endswith(b"\n"):
        body += b"\n"  # `printf 'rows 42'` is a line to everybody but the format
    client = Client(target.settings)
    deadline = Deadline(target.settings.timeout_seconds)
    return _exit_status(options, client.push(target.key, body, deadline=deadline, replace=options.replace))


def _delete(options: argparse.Namespace) -> int:
    target = _target(options)
    outcome = Client(target.settings).delete(target.key, deadline=Deadline(target.settings.timeout_seconds))
    return _exit_status(options, outcome)


def _doctor(options: argparse.Namespace) -> int:
    return 0 if examine(_target(options, script="pymetrics")) else REFUSED


def _exit_status(options: argparse.Namespace, outcome: Outcome) -> int:
    if outcome.ok:
        return 0
    print(f"{options.parser.prog}: {outcome.reason}", file=sys.stderr)
    return REFUSED
