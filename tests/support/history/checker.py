"""Checks a run against every rule."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from .evidence import Evidence, Finding
from .rules_ends import audit_gaps, grows, hanging, not_settled, state_against_provider
from .rules_grants import spent_again
from .rules_values import expired, goes_back, never_issued, two_values

RULES: Final[Mapping[str, Callable[[Evidence], Iterator[str]]]] = {
    "a spent refresh token was presented again": spent_again,
    "a value that the provider never issued": never_issued,
    "a generation went back within a process": goes_back,
    "a generation with two values": two_values,
    "a token that had expired": expired,
    "the audit log has a gap or a double": audit_gaps,
    "the stored state contradicts the provider": state_against_provider,
    "no return to work after the faults": not_settled,
    "a call hangs": hanging,
    "memory, descriptors or tasks grow": grows,
}


def check(evidence: Evidence) -> list[Finding]:
    """Return all findings, in the order of the rules."""
    return [Finding(name, text) for name, rule in RULES.items() for text in rule(evidence)]
