"""Puts the vault's access tokens into HTTP requests: one module per client library."""
