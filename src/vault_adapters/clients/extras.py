"""Names the extra that installs a client library."""


def missing(error: ModuleNotFoundError, extra: str) -> ModuleNotFoundError:
    """Return an error that says which extra of token-vault installs the module that an import did not find."""
    return ModuleNotFoundError(f"{error.name} is not installed: install token-vault[{extra}]", name=error.name)
