"""Histories of what several processes got from a vault, and the rules that such a history must keep."""

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
