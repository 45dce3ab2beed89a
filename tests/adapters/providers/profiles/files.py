"""The package's profiles as plain tables, read without the vault's loader, and values that fit their patterns."""

import re
import tomllib
from pathlib import Path
from re import _constants as regex  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]

FILES = Path(__file__).parents[4] / "src/vault_adapters/providers/profiles/files"
TABLES = {path.stem: tomllib.loads(path.read_text()) for path in sorted(FILES.rglob("*.toml"))}


def grant(table):
    """Return the grant of a profile."""
    return table.get("request", {}).get("grant", "refresh_token")


def values(table):
    """Return for each variable a value that matches its pattern; the value may equal the default."""
    return {name: sample(variable["pattern"]) for name, variable in table.get("variables", {}).items()}


def filled(template, given):
    """Return a template with its variables replaced."""
    return re.sub(r"\{([a-z][a-z0-9_]*)\}", lambda match: given[match[1]], template)


def placed(path, value, members):
    """Put a value at the path of a nested member."""
    *outer, last = path.split(".")
    for name in outer:
        members = members.setdefault(name, {})
    members[last] = value


def sample(pattern):
    """Return a short text that matches a regular expression."""
    return "".join(_shown(parser.parse(pattern)))


def _shown(parts):
    for kind, value in parts:
        if kind is regex.LITERAL:
            yield chr(value)
        elif kind is regex.ANY:
            yield "x"
        elif kind is regex.IN:
            yield _one_of(value)
        elif kind is regex.BRANCH:
            yield from _shown(value[1][0])
        elif kind is regex.SUBPATTERN:
            yield from _shown(value[3])
        elif kind in (regex.MAX_REPEAT, regex.MIN_REPEAT):
            least, _, repeated = value
            yield from list(_shown(repeated)) * least
        elif kind is not regex.AT and kind is not regex.ASSERT_NOT:
            raise NotImplementedError(kind)


def _one_of(choices):
    kind, value = choices[0]
    if kind is regex.LITERAL:
        return chr(value)
    if kind is regex.RANGE:
        return chr(value[0])
    if kind is regex.CATEGORY:
        return {regex.CATEGORY_DIGIT: "1", regex.CATEGORY_SPACE: " "}.get(value, "a")
    raise NotImplementedError(kind)
