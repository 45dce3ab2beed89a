"""Tests of the tests' own servers: a server that lies makes every test above it worthless."""
