"""The command line `token-vault`. `application.py` lists its commands, and `exit_codes.py` its exit codes."""
