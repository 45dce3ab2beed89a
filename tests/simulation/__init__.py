"""Deterministic simulation: real vaults over fake ports, in virtual time.

The simulated providers know which grants are alive, so the rules can judge what the vaults do.

A seed determines a world: its accounts, processes, faults, delays and the order of events. So a failing seed can be
replayed with ``python -m tests.simulation --seed N --kind K --verbose``.
"""
