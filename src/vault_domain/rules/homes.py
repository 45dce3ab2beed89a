"""Decides whether a database is where its vault lives, or a copy somewhere else."""

from vault_domain.entities.home import Home


def is_home(recorded: Home, found: Home) -> bool:
    """Return whether a database is at home.

    A database has moved if no recorded name of its place is true any more. If the home has the name of a deployment,
    only vaults that give the same name are at home.

    Args:
        recorded: the home that the database has recorded.
        found: where the database is now, and the configured deployment.
    """
    if recorded.deployment is not None and recorded.deployment != found.deployment:
        return False
    if not recorded.places or not found.places:
        return True  # nothing says that the database has moved
    return not set(recorded.places).isdisjoint(found.places)
