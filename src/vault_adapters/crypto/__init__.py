"""Encryption: the envelope format, the key hierarchy, and the key services that master keys may live in."""
