"""Findings that the present code is known to have. The table is to be empty."""

ANY = "*"

KNOWN = {
    (ANY, "rejected again"): "a rejected access token is handed out again when its refresh is refused",
    ("odd_code", "not shown"): "an unregistered code is retried for ever",
    ("odd_code_200", "not shown"): "an unregistered code is retried for ever",
    ("not_found", "not shown"): "an answer without a code is retried for ever",
    ("unauthorized", "not shown"): "an answer without a code is retried for ever",
    ("message_only", "not shown"): "an answer without a code is retried for ever",
    ("idle_lapse", "lapsed"): "a credential is not refreshed before it lapses",
    ("no_expiry", "lapsed"): "a credential is not refreshed before it lapses",
    ("meta", "lapsed"): "a credential is not refreshed before it lapses",
    ("meta", "condemned"): "an invalid_grant condemns although another grant is alive",
    ("wrong_client_id", "condemned"): "an invalid_grant under another client condemns",
    ("wrong_client_secret", "neighbour"): "one account's failure refuses the others of its provider",
    ("directory", "neighbour"): "one account's failure refuses the others of its provider",
    ("one_tenant_scope", "neighbour"): "one account's failure refuses the others of its provider",
    ("late", "reuse"): "an answer after the deadline is thrown away",
    ("late", "condemned"): "an answer after the deadline is thrown away",
    ("short_grace", "reuse"): "a short grace period counts as none",
    ("old_token_dies", "dying token"): "a token that dies is handed out during the flight",
    ("api_key", "condemned"): "one stray 401 condemns a token that cannot be refreshed",
}
"""Reason by the kind of provider (`ANY`: all kinds) and the rule that is broken."""


def rule_of(violation):
    """Return the rule that a violation breaks."""
    return violation.partition(":")[0]


def is_known(kind, violation):
    """Return whether a violation is known."""
    rule = rule_of(violation)
    return (kind, rule) in KNOWN or (ANY, rule) in KNOWN
