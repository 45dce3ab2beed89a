"""Seals the state of an authorization request, and opens it once (RFC 6749 section 10.12).

A state is sealed under the tenant's data key. The identifier in the state's context begins with NUL and ``state``. It
ends with a hash of the text that the caller binds the state to. No token and no journal entry has the same context,
because a token's identifier holds no NUL, and a journal entry's identifier begins with NUL and ``journal``.
"""

import base64
import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from attrs import field, frozen

from vault_domain.entities.account import Account, TokenKey, TokenKind, stored_key
from vault_domain.entities.errors import DecryptionError, StateRefusedError
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken
from vault_domain.ports.accounts import Accounts
from vault_domain.ports.cipher import Cipher, UnreadableError
from vault_domain.ports.keys import DataKeyQuery, Keys
from vault_domain.ports.upkeep import StateUse, Upkeep

LONGEST_STATE = 8192
"""Largest number of characters of a state that is opened."""

UNREADABLE_STATE = "unreadable"
"""Reason: the state is forged or changed, of another session, or of a tenant that was erased since."""

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEY_ID_SIZE = 16


@frozen
class OpenedState:
    """A state that was opened.

    Attributes:
        tenant_id: the tenant that the state was sealed for.
        data_key_id: id of the tenant's data key under which the state was sealed.
        content: the text that was sealed.
    """

    tenant_id: str
    data_key_id: bytes = field(repr=False)
    content: Secret = field(repr=False)


class StateService:
    """Seals and opens states. The facade has validated the arguments."""

    def __init__(self, cipher: Cipher, accounts: Accounts, keys: Keys, upkeep: Upkeep) -> None:
        self._cipher = cipher
        self._accounts = accounts
        self._keys = keys
        self._upkeep = upkeep

    async def seal(self, account: Account, content: Secret, *, bound_to: Secret, lifetime: timedelta) -> str:
        """Return a state that is valid for ``lifetime`` by the store's time."""
        _, now = await self._accounts.get_many([])
        ends = (now + lifetime - _EPOCH) // _MICROSECOND
        text = Secret(f"{ends} {content.reveal()}")
        [sealed] = await self._cipher.seal([(_context(account.tenant_id, bound_to), text)])
        return base64.urlsafe_b64encode(sealed.data_key_id + sealed.blob).decode().rstrip("=")

    async def open(self, state: Secret, *, bound_to: Secret) -> OpenedState | StateRefusedError:
        """Open a state and use it up; return the error to raise if the state is not valid.

        If this method raises an error, no frame of its traceback shows the state.
        """
        state_id, sealed = _parts(state)
        found = [] if sealed is None else await self._keys.data_keys(DataKeyQuery(key_id=sealed.data_key_id), None, 1)
        if sealed is None or not found:
            return StateRefusedError(reason=UNREADABLE_STATE)
        tenant_id = found[0].tenant_id
        content = await self._read(tenant_id, sealed, bound_to)
        if content is None:
            return StateRefusedError(reason=UNREADABLE_STATE)
        ends, text = _content(content)
        use = await self._upkeep.use_state(state_id, _EPOCH + ends * _MICROSECOND)
        if use is not StateUse.FIRST:
            return StateRefusedError(reason=use.value)
        return OpenedState(tenant_id, sealed.data_key_id, text)

    async def _read(self, tenant_id: str, sealed: SealedToken, bound_to: Secret) -> Secret | None:
        try:
            # This process may hold the data key of a tenant that another process has erased.
            await self._cipher.confirm(tenant_id, sealed.data_key_id)
            return await self._cipher.open(_context(tenant_id, bound_to), sealed)
        except (UnreadableError, DecryptionError):
            return None


def _context(tenant_id: str, bound_to: Secret) -> TokenKey:
    digest = hashlib.sha256(bound_to.reveal().encode()).hexdigest()
    return stored_key(tenant_id, "state", TokenKind.ACCESS_TOKEN, f"\0state\0{digest}")


def _content(content: Secret) -> tuple[int, Secret]:
    ends, _, text = content.reveal().partition(" ")
    return int(ends), Secret(text)


def _parts(state: Secret) -> tuple[bytes, SealedToken | None]:
    """Return a state's id and its envelope; no envelope if the state is too long or not in base64.

    The id is a hash of all bytes, and all bytes are authenticated. So nobody can change a used state so that it has
    another id and still opens.
    """
    text, raw = state.reveal(), b""
    if len(text) <= LONGEST_STATE and text.isascii():
        with suppress(ValueError):
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    blob = raw[_KEY_ID_SIZE:]
    return hashlib.sha256(raw).digest(), SealedToken(raw[:_KEY_ID_SIZE], blob) if blob else None
