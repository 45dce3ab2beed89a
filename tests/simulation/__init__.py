"""Deterministic simulation: real vaults over fake ports, in virtual time, against providers that keep the truth.

A seed determines a world: its accounts, processes, faults, delays and the order of events. So a failing seed can be
replayed with ``python -m tests.simulation --seed N --kind K --verbose``.
"""
