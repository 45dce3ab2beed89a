"""The commands, a module per group; each has `add_to`, which `application.py` calls."""
