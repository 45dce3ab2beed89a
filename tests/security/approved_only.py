"""The life of a vault whose master key is in a key service, where `hashlib` has only what FIPS 140-3 approves."""

import asyncio
import hashlib
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]


def forbid():
    """Let every primitive that is not approved raise an error."""

    def forbidden(*_, **__):
        raise RuntimeError("not approved by FIPS 140-3")

    for name in ("md5", "sha1", "blake2b", "blake2s", "scrypt"):
        setattr(hashlib, name, forbidden)


async def live(path):
    from moto.server import ThreadedMotoServer
    from tests.adapters.crypto.kms_service import REGION, client_for, new_key

    from vault_adapters import TokenKey, TokenKind, VaultConfig, open_vault

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "http://{}:{}".format(*server.get_host_and_port())
    os.environ |= {"AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": REGION}
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    client = client_for(endpoint)
    config = VaultConfig(f"sqlite:///{path}", master_key=f"aws-kms:{new_key(client)}")
    own, key = f"aws-kms:{new_key(client)}", TokenKey("t1", "acme", TokenKind.API_KEY)
    client.close()
    await asyncio.to_thread(client_for(endpoint).list_keys)  # what boto3 loads is not the vault's
    forbid()
    async with open_vault(config) as vault:
        await vault.store_token(key, "value")
        found = [(await vault.get_token(key)).value.reveal()]
        await vault.keys.set_tenant_master_key("t1", own)
        await vault.keys.rotate_data_key("t1")
        await vault.keys.reencrypt()
        found.append((await vault.get_token(key)).value.reveal())
        events = await vault.audit_events(tenant_id="t1", limit=1)
        assert (await vault.audit_events(tenant_id="t1", after=events.next, limit=1)).items
    async with open_vault(config) as vault:
        found.append((await vault.get_token(key)).value.reveal())
        print(*found, (await vault.erase_tenant("t1")).tokens)
    os._exit(0)  # moto's threads


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    asyncio.run(live(sys.argv[1]))
