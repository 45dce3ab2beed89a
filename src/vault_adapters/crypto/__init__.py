"""Encryption: the envelope format, the key hierarchy, and master keys in memory or in a key service."""
