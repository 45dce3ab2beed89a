"""The command line: `token-vault`. `application.py` lists its commands; `exit_codes.py` says how they end."""
