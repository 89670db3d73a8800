"""How does `pushgateway`, or `python -m pushgateway`, begin?

Only the standard library is imported here: a base install has the SDK alone, and is told what to install.
"""

from __future__ import annotations

import gc
import importlib.util
import sys

__all__ = ["main"]

_NEEDED = (
    "backports.zstd" if sys.version_info < (3, 14) else "compression.zstd",
    "bcrypt",
    "click",
    "cramjam",
    "flask",
    "google.protobuf",
    "gunicorn",
    "httptools",
    "isal",
    "uvicorn",
    "uvloop",
    "yaml",
)
"""The modules of the extra `gateway`."""


def main() -> int:
    """Run the command line.

    Returns:
        The exit code: 0 stopped, 1 the start failed, 2 a flag or value that cannot be used.
    """
    missing = [name for name in _NEEDED if not _installed(name)]
    if missing:
        print(
            f"pushgateway: not installed: {', '.join(missing)}; run: pip install 'pymetrics-pushgateway[gateway]'",
            file=sys.stderr,
        )
        return 1
    # Modules are no garbage: to look for some, now or later, takes 100 of 600 ms of the start.
    gc.disable()
    # Not at the top: cli imports click, which may be among what is missing.
    from pushgateway import cli  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    return cli.main()


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent of a dotted name is missing
        return False


if __name__ == "__main__":
    sys.exit(main())
