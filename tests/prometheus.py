"""How does a test run a real Prometheus server beside a gateway, and ask it what it has scraped?"""

from __future__ import annotations

import json
import re
import urllib.parse
from pathlib import Path

from tests.harness import Gateway, Service, poll, require_program

__all__ = ["Prometheus", "Series", "series"]

README = Path(__file__).parents[1] / "README.md"

Series = dict[frozenset[tuple[str, str]], float]


class Prometheus(Service):
    """A Prometheus server that scrapes one gateway every second, with its data in a directory of its own.

    Args:
        gateway: What it scrapes, as the README's scrape_config says.
        flags: Command line flags, beside those of files and the listen address.
        settings: Further lines of the scrape_config, indented as they stand in it.
    """

    name = "prometheus"

    def __init__(self, gateway: Gateway, *flags: str, settings: str = "") -> None:
        super().__init__(*flags)
        readme = re.search(r"```yaml\n(scrape_configs:.*?)```", README.read_text(), re.DOTALL)
        assert readme, "the README has no scrape config"
        scrape = readme[1].replace("127.0.0.1:9091", f"127.0.0.1:{gateway.port}") + settings
        assert scrape != readme[1] + settings, "the README's scrape config does not name the gateway's default address"
        (self.directory / "prometheus.yml").write_text(
            f"global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n{scrape}"
        )

    def command(self) -> list[str]:
        """The command line that starts it."""
        return [
            require_program("prometheus"),
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{self.port}",
            *self.flags,
        ]

    def query(self, expression: str) -> Series:
        """Evaluate an expression now; return the value of each series by its labels, the name among them."""
        reply = self.get(f"/api/v1/query?query={urllib.parse.quote(expression)}")
        answer = json.loads(reply.body)
        assert answer["status"] == "success", answer
        return {frozenset(series["metric"].items()): float(series["value"][1]) for series in answer["data"]["result"]}

    def eventually(self, expression: str, wanted: Series) -> None:
        """Wait until an expression has exactly these series and values."""
        poll(lambda: self.query(expression) == wanted, seconds=20, what=f"{expression} to be {wanted}")


def series(value: float, **labels: str) -> Series:
    """One expected series; `__name__` is given as `name`."""
    return {frozenset(("__name__" if label == "name" else label, text) for label, text in labels.items()): value}
