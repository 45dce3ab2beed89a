"""Stores: one folder per database, with the same file names; none imports another."""
