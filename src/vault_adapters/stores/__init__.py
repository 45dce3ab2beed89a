"""Stores: one folder per database, with the same file names. No store imports another."""
