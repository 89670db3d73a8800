"""What does a reader of a page meet: text, links, elements?"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

_APART: Final = frozenset(("br", "dd", "div", "dt", "h1", "h2", "h3", "li", "p", "summary", "td", "th"))
"""Elements whose text does not stand on the line of what is before them."""


class Page(HTMLParser):
    """The text, the links and the elements of a page.

    Attributes:
        text: All text, with a space before cells and other blocks.
        links: Where anything leads to or comes from, in order.
        elements: The names of all elements, in order.
        attributes: The attributes of each element, in the same order.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[dict[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element and where it leads."""
        given = {name: value or "" for name, value in attrs}
        self.elements.append(tag)
        self.attributes.append(given)
        self.text += " " if tag in _APART else ""
        self.links += [given[name] for name in ("href", "src", "action") if name in given]

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data

    @property
    def words(self) -> str:
        """The text with single spaces."""
        return " ".join(self.text.split())

    def found(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        """Return the attributes of the elements of a name that have the given ones; `_` stands for `-`."""
        wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
        return [
            given
            for name, given in zip(self.elements, self.attributes, strict=True)
            if name == tag and wanted.items() <= given.items()
        ]
