"""How do the names and labels at the beginning of a sample line look?

The same in text 0.0.4 and OpenMetrics: names beyond the legacy grammar stand in quotes, those of metrics inside the
braces.
"""

from __future__ import annotations

from typing import Final

from pushgateway.names import is_legacy_label_name, is_metric_name

__all__ = ["PairTexts", "escape", "pair_text", "start_line", "starts", "written_name"]


def escape(text: str) -> str:
    """Write a name or value as it stands in quotes."""
    if "\\" in text or '"' in text or "\n" in text:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return text


def pair_text(pair: tuple[str, str]) -> str:
    """Write a label with its value."""
    name, value = pair
    return f'{name}="{escape(value)}"' if is_legacy_label_name(name) else f'"{escape(name)}"="{escape(value)}"'


_MAX_PAIRS: Final = 1000
"""Beyond, a pair is more likely an identifier that never comes back, and keeping it costs more than it saves."""


class PairTexts(dict[tuple[str, str], str]):
    """Label pairs as text, each written once a family: most pairs stand in every line."""

    def __missing__(self, pair: tuple[str, str]) -> str:
        text = pair_text(pair)
        if len(self) < _MAX_PAIRS:
            self[pair] = text
        return text


def written_name(name: str) -> str:
    """Write a metric name as HELP and TYPE lines have it."""
    return name if is_metric_name(name) else f'"{escape(name)}"'


def starts(name: str, *, legacy: bool) -> tuple[str, str]:
    """Return how the lines of a name begin: without labels, and where labels and a closing brace follow.

    Args:
        name: A metric name.
        legacy: Whether it is of the legacy grammar.
    """
    if legacy:
        return name, f"{name}{{"
    quoted = f'{{"{escape(name)}"'
    return f"{quoted}}}", f"{quoted},"


def start_line(name: str, labels: str, *, legacy: bool) -> str:
    """Return how the line of a name with these labels, joined by commas, begins."""
    bare, labelled = starts(name, legacy=legacy)
    return f"{labelled}{labels}}}" if labels else bare
