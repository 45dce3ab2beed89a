"""The commands, one module per group. `application.py` calls the `add_to` of each module."""
