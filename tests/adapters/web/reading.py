"""Reads pages as a parser sees them."""

from html.parser import HTMLParser

_EMPTY = {"meta", "link", "img", "input", "br"}


class Reader(HTMLParser):
    """Collects tags with their attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.words = []
        self.open = []
        self.feed(page)
        self.close()
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} is closed where another tag is open"

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def all(self, tag):
        return [attributes for found, attributes in self.tags if found == tag]

    @property
    def links(self):
        return [a["href"] for a in self.all("a")]

    @property
    def form(self):
        """The values of the page's hidden fields, by name, as its form posts them."""
        return {field["name"]: field["value"] or "" for field in self.all("input") if field.get("type") == "hidden"}
