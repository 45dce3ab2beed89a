"""The entities: accounts, tokens, keys and reports, as frozen values."""
