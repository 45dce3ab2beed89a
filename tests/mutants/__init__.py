"""Bugs to plant one at a time; each must make the tests that are named beside it fail.

`nox -s mutants` plants them all. Each bug is an entry in a TOML file of this folder:

    [[mutant]]
    name = "what the bug does"
    file = "src/vault_adapters/crypto/envelope.py"
    old = "text that stands there exactly once"
    new = "the bug"
    tests = ["tests/adapters/crypto/test_envelope.py"]

`tests` are arguments of pytest, and should take seconds.
"""
