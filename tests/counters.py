"""Where does a running gateway keep its counters?"""

from __future__ import annotations

import re
from pathlib import Path

from tests.harness import Service

__all__ = ["counters_directory"]


def counters_directory(gateway: Service) -> Path:
    """Return the directory of the files that its workers have mapped; one of them must have counted something."""
    for pid in gateway.workers():
        if found := re.search(r" (/\S+)/counter_[0-9]+\.db", Path(f"/proc/{pid}/maps").read_text()):
            return Path(found[1])
    raise AssertionError("no worker has counted anything")
