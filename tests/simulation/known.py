"""Findings that are not mended yet; normally there is none."""

ANY = "*"

KNOWN = {}
"""Reason by the kind of provider (`ANY`: all kinds) and the rule that is broken."""


def rule_of(violation):
    """Return the rule that a violation breaks."""
    return violation.partition(":")[0]


def is_known(kind, violation):
    """Return whether a violation is known."""
    rule = rule_of(violation)
    return (kind, rule) in KNOWN or (ANY, rule) in KNOWN
