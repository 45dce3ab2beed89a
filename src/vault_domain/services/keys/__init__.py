"""Use cases that rotate data keys and master keys."""
