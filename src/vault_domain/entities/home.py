"""`Home`: where a database lives, as far as that is recorded in it or can be seen."""

from __future__ import annotations

from attrs import frozen


@frozen
class Home:
    """Where a database lives.

    Attributes:
        places: names of the database's place. A place may have several names, because some of them may change while the
            database stays. Empty: the place cannot be told.
        deployment: the name that the host gives to its installation, or None.
    """

    places: tuple[str, ...] = ()
    deployment: str | None = None
