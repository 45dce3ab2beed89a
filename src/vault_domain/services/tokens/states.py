"""Seals the state of an authorization request, and opens it once (RFC 6749 section 10.12).

A state is sealed under the tenant's data key. Its context names what the caller binds it to. No token and no journal
entry has the same context, because the identifier in it begins with NUL, and is not the journal's.
"""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta

from attrs import field, frozen

from vault_domain.entities.account import Account, TokenKey, TokenKind, stored_key
from vault_domain.entities.errors import DecryptionError, StateRefusedError
from vault_domain.entities.secret import Secret
from vault_domain.entities.token import SealedToken
from vault_domain.ports.account_repository import AccountRepository
from vault_domain.ports.cipher import Cipher, UnreadableError
from vault_domain.ports.state_ledger import StateLedger, StateUse

LONGEST_STATE = 8192
"""Largest number of characters of a state that is opened."""

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEY_ID_SIZE = 16


@frozen
class OpenedState:
    """A state that was opened.

    Attributes:
        tenant_id: the tenant that it was sealed for.
        content: what was sealed.
    """

    tenant_id: str
    content: Secret = field(repr=False)


class StateService:
    """Seals and opens states. The facade has validated the arguments."""

    def __init__(self, accounts: AccountRepository, cipher: Cipher, ledger: StateLedger) -> None:
        self._accounts = accounts
        self._cipher = cipher
        self._ledger = ledger

    async def seal(self, account: Account, content: Secret, *, bound_to: str, lifetime: timedelta) -> str:
        """Return a state that is valid for ``lifetime`` by the store's time."""
        _, now = await self._accounts.get(account)
        ends = (now + lifetime - _EPOCH) // _MICROSECOND
        text = Secret(json.dumps([ends, content.reveal()]))
        [sealed] = await self._cipher.seal([(_context(account.tenant_id, bound_to), text)])
        return base64.urlsafe_b64encode(sealed.data_key_id + sealed.blob).decode().rstrip("=")

    async def open(self, state: str, *, bound_to: str) -> OpenedState:
        """Open a state and use it up.

        Raises:
            StateRefusedError: ``unreadable``, ``expired`` or ``used``, in its reason.
        """
        raw = _bytes_of(state)
        sealed = SealedToken(raw[:_KEY_ID_SIZE], raw[_KEY_ID_SIZE:])
        tenant_id = await self._ledger.tenant_of(sealed.data_key_id) if sealed.blob else None
        content = None if tenant_id is None else await self._read(tenant_id, sealed, bound_to)
        if tenant_id is None or content is None:
            raise StateRefusedError(reason="unreadable")
        ends, text = json.loads(content.reveal())
        # All of these bytes are authenticated, so that nobody can make other bytes that open to the same content.
        use = await self._ledger.use(hashlib.sha256(raw).digest(), _EPOCH + ends * _MICROSECOND)
        if use is not StateUse.FIRST:
            raise StateRefusedError(reason=use.value)
        return OpenedState(tenant_id, Secret(text))

    async def _read(self, tenant_id: str, sealed: SealedToken, bound_to: str) -> Secret | None:
        try:
            return await self._cipher.open(_context(tenant_id, bound_to), sealed)
        except (UnreadableError, DecryptionError):
            return None


def _context(tenant_id: str, bound_to: str) -> TokenKey:
    digest = hashlib.sha256(bound_to.encode()).hexdigest()
    return stored_key(tenant_id, "state", TokenKind.ACCESS_TOKEN, f"\0state\0{digest}")


def _bytes_of(state: str) -> bytes:
    """Return the bytes of a state; none if it is not in base64."""
    if not 1 <= len(state) <= LONGEST_STATE or not state.isascii():
        return b""
    try:
        return base64.b64decode(state + "=" * (-len(state) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return b""
