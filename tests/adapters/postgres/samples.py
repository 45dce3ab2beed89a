"""Sample tokens and keys. Their ciphertexts are arbitrary bytes, because the store never opens them."""

from uuid import uuid4

from vault_adapters.testing.contract.master_keys import introduce_first
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.key_records import DataKeyRecord, DataKeyState, DataKeyWrap, MasterKeyRecord
from vault_domain.entities.token import SealedToken, TokenWrite

SCHEMA = "token_vault"
MASTER_KEY = MasterKeyRecord(b"k" * 16, "local")
ACCOUNT = Account("acme", "google", "ann@example.com")
ACCESS = ACCOUNT.key(TokenKind.ACCESS_TOKEN)
REFRESH = ACCOUNT.key(TokenKind.REFRESH_TOKEN)


def data_key(tenant_id="acme", key_id=b"d" * 16):
    return DataKeyRecord(tenant_id, key_id, DataKeyState.ACTIVE, (DataKeyWrap(MASTER_KEY.key_id, b"wrapped"),))


def write(key=ACCESS, blob=b"sealed", key_id=b"d" * 16, **fields):
    return TokenWrite(key, SealedToken(key_id, blob), **{"value_id": uuid4(), **fields})


async def prepare(store, *tenant_ids):
    """Store a master key, and for each tenant an active data key."""
    await introduce_first(store.keys, MASTER_KEY)
    for tenant_id in tenant_ids or ("acme",):
        await store.keys.create_data_key(data_key(tenant_id))
