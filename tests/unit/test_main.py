from __future__ import annotations

import configparser
import importlib.metadata
import re
from pathlib import Path

from pushgateway.__main__ import _NEEDED


def test_what_is_looked_for_is_what_the_extra_installs() -> None:
    """The modules whose absence is told in one line are those of the distributions of the extra `gateway`."""
    settings = configparser.ConfigParser()
    settings.read(Path(__file__).parents[2] / "setup.cfg")
    lines = settings["options.extras_require"]["gateway"].split("\n")
    wanted = {re.split(r"[<>=!~\[; ]", line)[0].lower() for line in lines if line.strip()}
    installed = importlib.metadata.packages_distributions()
    found = {name.lower() for module in _NEEDED for name in installed[module.partition(".")[0]]}
    # The package `google` is shared by several distributions.
    assert wanted <= found
    assert {name for name in found if not name.startswith(("google", "types-"))} <= wanted
    assert len(_NEEDED) == len(wanted)
