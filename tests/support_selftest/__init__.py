"""Tests of the tests' own servers: if a server works wrongly, the tests that use it prove nothing."""
