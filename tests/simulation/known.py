"""Findings that the present code is known to have. The table is to be empty."""

ANY = "*"

KNOWN = {
    ("idle_lapse", "lapsed"): "a credential is not refreshed before it lapses",
    ("no_expiry", "lapsed"): "a credential is not refreshed before it lapses",
    ("old_token_dies", "dying token"): "a token that dies is handed out during the flight",
}
"""Reason by the kind of provider (`ANY`: all kinds) and the rule that is broken."""


def rule_of(violation):
    """Return the rule that a violation breaks."""
    return violation.partition(":")[0]


def is_known(kind, violation):
    """Return whether a violation is known."""
    rule = rule_of(violation)
    return (kind, rule) in KNOWN or (ANY, rule) in KNOWN
