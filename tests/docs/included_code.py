"""Keeps the code in the pages equal to the files that tests run: `python -m tests.docs.included_code`.

A page names a file in a comment, ``<!-- recipes/name.py -->``, and shows it in the block of code behind the comment, so
that the code can also be read where the pages are not built, as on the repository's own pages.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

DOCS = Path(__file__).resolve().parents[2] / "docs"
_SHOWN = re.compile(
    r"^(?P<margin> *)<!-- (?P<file>[\w./-]+) -->\n"
    r"(?P=margin)(?P<fence>`{3,})(?P<language>\w+)\n.*?^(?P=margin)(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


def with_code(page: Path) -> str:
    """Return a page's text with the present code of the files that it shows."""

    def shown(match: re.Match[str]) -> str:
        margin, fence = match["margin"], match["fence"]
        code = (page.parent / match["file"]).read_text(encoding="utf-8").rstrip("\n")
        lines = [f"<!-- {match['file']} -->", f"{fence}{match['language']}", code, fence]
        return indent("\n".join(lines), margin)

    return _SHOWN.sub(shown, page.read_text(encoding="utf-8"))


def shown_files(page: Path) -> list[Path]:
    """Return the files whose code a page shows."""
    return [page.parent / match["file"] for match in _SHOWN.finditer(page.read_text(encoding="utf-8"))]


def main() -> None:
    """Write the present code into all pages."""
    for page in sorted(DOCS.rglob("*.md")):
        page.write_text(with_code(page), encoding="utf-8")


if __name__ == "__main__":
    main()
