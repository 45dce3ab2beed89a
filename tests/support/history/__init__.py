"""Histories of the values that several processes got from a vault, and the rules for such a history."""

from .checker import RULES, check
from .evidence import Account, Action, Call, Event, Evidence, Finding, Limits, Process, Sample

__all__ = [
    "RULES",
    "Account",
    "Action",
    "Call",
    "Event",
    "Evidence",
    "Finding",
    "Limits",
    "Process",
    "Sample",
    "check",
]
