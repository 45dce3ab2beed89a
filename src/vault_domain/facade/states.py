"""`VaultStates`, which `TokenVault.states` returns: seals and opens the ``state`` of authorization requests."""

from __future__ import annotations

from datetime import timedelta

from vault_domain.entities.account import Account
from vault_domain.entities.errors import InvalidInputError, StateRefusedError
from vault_domain.entities.scrub import scrubbed_async
from vault_domain.entities.secret import Secret, as_value
from vault_domain.entities.text import as_duration, plain_text
from vault_domain.facade.arguments import as_account
from vault_domain.services.tokens.states import LONGEST_STATE, OpenedState, StateService

_LONGEST_CONTENT = LONGEST_STATE // 2
"""Largest number of bytes to seal; the resulting state is not longer than `LONGEST_STATE`."""


class VaultStates:
    """Seals data that a host needs again when its user comes back from a provider, and opens it once.

    `vault_adapters.connect` uses this class; a host that speaks to providers itself may use it too. Any process that
    has opened the same vault can open a state, but each state opens only once.
    """

    __slots__ = ("_states",)

    def __init__(self, states: StateService) -> None:
        self._states = states

    @scrubbed_async
    async def seal(
        self, account: Account, content: Secret | str, *, bound_to: str, lifetime: timedelta = timedelta(minutes=10)
    ) -> str:
        """Return a state: a text of URL-safe characters that shows nothing of its content.

        Args:
            account: the account that is being connected; the state is sealed under the data key of its tenant.
            content: the text to seal, at most 4 KiB of UTF-8.
            bound_to: a text that `open` must be given again, such as the id of the user's session; the state does not
                contain it.
            lifetime: the time for which the state is valid, by the store's time.
        """
        secret, bound = as_value(content, "content"), _as_text(bound_to, "bound_to")
        del content, bound_to  # tracebacks of later errors must not hold them
        if len(secret.reveal().encode()) > _LONGEST_CONTENT:
            raise InvalidInputError(f"content must be at most {_LONGEST_CONTENT} bytes of UTF-8")
        owner, time = as_account(account), as_duration(lifetime, "lifetime", positive=True)
        return await self._states.seal(owner, secret, bound_to=bound, lifetime=time)

    @scrubbed_async
    async def open(self, state: str, *, bound_to: str) -> OpenedState:
        """Return the content of a state, and use it up.

        Args:
            state: the text that `seal` returned, as it came back.
            bound_to: the text that the state was bound to.

        Raises:
            StateRefusedError: the state is not valid. A refusal does not use the state up. The reason ``used`` means
                that an earlier call has used it up.
        """
        text, bound = _as_text(state, "state"), _as_text(bound_to, "bound_to")
        del state, bound_to  # tracebacks of later errors must not hold them
        opened = await self._states.open(text, bound_to=bound)
        if isinstance(opened, StateRefusedError):
            raise opened
        return opened


def _as_text(value: object, name: str) -> Secret:
    return as_value(plain_text(value), name)
