"""Prepares a clean clone for a package index, which shows README.md without the files that it links to.

`python -m tests.release.index_page ADDRESS` makes the links of README.md absolute, and adds `[project.urls]` to
pyproject.toml; ADDRESS is the repository's, such as https://example.org/token-vault.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.release.sbom import read_project

ROOT: Final = Path(__file__).resolve().parents[2]

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?://|#)([^)]+)\)")
_TABLE = "[project.optional-dependencies]"


def absolute_links(text: str, address: str, tag: str) -> str:
    """Return a text in Markdown whose relative links lead to a tag of the repository at ``address``."""

    def link(found: re.Match[str]) -> str:
        is_image, label, target = found.groups()
        return f"{is_image}[{label}]({address}/{'raw' if is_image else 'blob'}/{tag}/{target})"

    return _LINK.sub(link, text)


def with_urls(described: str, address: str, tag: str) -> str:
    """Return pyproject.toml with the addresses that a package index shows beside the description, if it has none."""
    if "[project.urls]" in described:
        return described
    pages = {"Source": address, "Changelog": f"{address}/blob/{tag}/CHANGELOG.md"}
    urls = "".join(f'{name} = "{page}"\n' for name, page in pages.items())
    return described.replace(_TABLE, f"[project.urls]\n{urls}\n{_TABLE}", 1)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Rewrite both files; return 2 if the only argument is no address."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1 or not re.fullmatch(r"https://[^\s\"]+[^\s\"/]", given[0]):
        print("give the address of the repository: https://, and no slash at its end", file=sys.stderr)
        return 2
    tag = f"v{read_project()[1]}"
    for name, rewritten in (("README.md", absolute_links), ("pyproject.toml", with_urls)):
        path = root / name
        path.write_text(rewritten(path.read_text(encoding="utf-8"), given[0], tag), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
