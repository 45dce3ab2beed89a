"""The commands, one module per group. `application.py` names the function of each command."""
