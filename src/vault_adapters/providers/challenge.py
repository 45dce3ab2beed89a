"""Reads the header ``WWW-Authenticate`` (RFC 9110 section 11.6.1), whose text any server may have chosen."""

from __future__ import annotations

import re

_LONGEST = 8192
# A word that is no name of a parameter is a match of its own, and possessive quantifiers give nothing back. So each
# character is looked at a few times at most, whatever the text is.
_WORD = re.compile(r'([\w-]++)(?:\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"|([^\s,"]++)))?', re.ASCII | re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def parameters_of(header: str) -> dict[str, str]:
    """Return the parameters of all challenges by their names in lower case; of equal names, the last one counts.

    The time grows linearly with the text. A text of more than 8192 characters has no parameters.

    Args:
        header: the header; several are joined by commas.
    """
    if len(header) > _LONGEST:
        return {}
    found = ((name.lower(), _ESCAPED.sub(r"\1", quoted) or plain) for name, quoted, plain in _WORD.findall(header))
    return {name: value for name, value in found if value}
