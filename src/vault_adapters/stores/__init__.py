"""Stores: one folder per database. Files with the same purpose have the same name. No store imports another."""
