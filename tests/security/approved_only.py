"""The life of a vault whose master key is in a key service, where `hashlib` has only what FIPS 140-3 approves.

Arguments: the database's file, the URI of the vault's master key, that of a tenant's own, and the file of their tokens.
"""

import asyncio
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]


def forbid():
    """Let every primitive that is not approved raise an error, also where Python has an implementation of its own."""

    def forbidden(*_, **__):
        raise RuntimeError("not approved by FIPS 140-3")

    for name in ("md5", "sha1", "blake2b", "blake2s", "scrypt"):
        setattr(hashlib, name, forbidden)


async def live(path, master_key, own, tokens):
    from vault_adapters import Account, TokenKey, TokenKind, TokenSet, Tuning, VaultConfig, open_vault
    from vault_adapters.testing import ScriptedRefresher

    tuning = Tuning(key_service_tokens=Path(tokens) if tokens else None)
    config = VaultConfig(f"sqlite:///{path}", master_key=master_key, tuning=tuning)
    key, account = TokenKey("t1", "acme", TokenKind.API_KEY), Account("t1", "acme", "ann")
    refreshers = {"acme": ScriptedRefresher(TokenSet("second", "refresh", expires_in=3600))}
    async with open_vault(config, refreshers=refreshers) as vault:
        await vault.store_token(key, "value")
        found = [(await vault.get_token(key)).value.reveal()]
        await vault.keys.set_tenant_master_key("t1", own)
        await vault.keys.rotate_data_key("t1")
        await vault.keys.reencrypt()
        found.append((await vault.get_token(key)).value.reveal())
        await vault.store_token_set(account, TokenSet("first", "refresh", expires_in=3600))
        found.append((await vault.refresh_account(account)).value.reveal())
        events = await vault.audit_events(tenant_id="t1", limit=1)
        assert (await vault.audit_events(tenant_id="t1", after=events.next, limit=1)).items
    async with open_vault(config) as vault:
        found.append((await vault.get_token(key)).value.reveal())
        print(*found, (await vault.erase_tenant("t1")).tokens)


if __name__ == "__main__":
    if "boto3" in sys.argv[5:]:  # what boto3 loads is not the vault's
        import boto3

        boto3.session.Session().client("kms").list_keys()
    forbid()
    asyncio.run(live(*sys.argv[1:5]))
