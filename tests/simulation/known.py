"""Findings that are not mended yet; normally there is none."""

ANY = "*"

KNOWN = {}
"""Cause of each finding, by kind of provider and broken rule. The kind `ANY` means all kinds."""


def rule_of(violation):
    """Return the rule that a violation breaks."""
    return violation.partition(":")[0]


def is_known(kind, violation):
    """Return whether a violation is known."""
    rule = rule_of(violation)
    return (kind, rule) in KNOWN or (ANY, rule) in KNOWN
