"""`Start`: where to send a user, and the state that the provider sends back."""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Start:
    """The beginning of a connection.

    Attributes:
        url: the address to redirect the user's browser to.
        state: the ``state`` within this address; a web service may store its own data about the connection under this
            state.
    """

    url: str = field(repr=False)
    state: str = field(repr=False)
