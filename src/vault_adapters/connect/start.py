"""`Start`: where to send a user, and the state that the provider sends back."""

from __future__ import annotations

from attrs import field, frozen


@frozen
class Start:
    """The begin of a connection.

    Attributes:
        url: the address to redirect the user's browser to.
        state: the ``state`` within this address; a web service may use it to name what it remembers of the request.
    """

    url: str = field(repr=False)
    state: str = field(repr=False)
