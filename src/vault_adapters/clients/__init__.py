"""Puts the vault's access tokens into HTTP clients: one module per library, each importing only its own."""
