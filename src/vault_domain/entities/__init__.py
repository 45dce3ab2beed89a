"""What the vault speaks of: accounts, tokens, keys and reports, as frozen values."""
