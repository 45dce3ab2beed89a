"""The keys of a `SyncVault`: the same methods, without await."""

import inspect

from vault_adapters import SyncKeys, TokenKey, TokenKind, VaultConfig, VaultKeys, open_sync_vault

SECRET = "a secret for tests of sync key rotation"

KEY = TokenKey("t1", "acme", TokenKind.API_KEY)


def methods(cls):
    return {name: member for name, member in inspect.getmembers(cls, inspect.isfunction) if not name.startswith("_")}


def test_the_methods_and_signatures_are_those_of_the_async_ones():
    expected, found = methods(VaultKeys), methods(SyncKeys)
    assert set(found) == set(expected)
    for name, member in expected.items():
        assert inspect.signature(found[name]) == inspect.signature(member)
        assert found[name].__doc__ == member.__doc__
        assert not inspect.iscoroutinefunction(found[name])


def test_rotating_and_erasing_without_an_event_loop(tmp_path):
    config = VaultConfig(f"sqlite:///{tmp_path}/vault.db", encryption_secret=SECRET, scrypt_log2_n=14)
    with open_sync_vault(config) as vault:
        vault.store_token(KEY, "value")
        assert vault.with_actor("ops").keys.rotate_data_key("t1").rotated
        seen = []
        assert vault.keys.reencrypt(progress=lambda done, total: seen.append((done, total))).reencrypted == 1
        assert seen == [(1, 1)]
        assert vault.keys.status(tenant_id="t1").decrypt_only == 1
        assert not vault.keys.rotate_master_key().incomplete
        assert vault.get_token(KEY).value.reveal() == "value"
        assert [event.actor for event in vault.iter_audit_events()][1] == "ops"
        assert vault.erase_tenant("t1").tokens == 1
        assert vault.get_token(KEY) is None
