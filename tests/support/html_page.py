"""An HTML page, taken apart."""

from __future__ import annotations

from html.parser import HTMLParser


class Loaded(HTMLParser):
    """A page's elements, their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value or "" for _, each, value in self.attributes if each == name]

    def of(self, tag: str, name: str) -> list[str]:
        """An attribute of all elements of a kind that have it."""
        return [value or "" for kind, each, value in self.attributes if (kind, each) == (tag, name)]
