"""The key that an account's tokens are bound to (DPoP): it stays with the account's tokens, and nobody else sees it."""

import logging
import pickle
from datetime import date

import pytest
from attrs import evolve
from tests.adapters.refresh.refresh_kit import ACCOUNT, MINUTE, answer, rows_of
from tests.support.answers import Answer, token_answer
from tests.support.databases import both_stores
from tests.support.proofs import checked_proof, no_nonces

from vault_adapters import RefreshFailedError, Secret, TokenKind
from vault_adapters.providers import refresher
from vault_adapters.providers.dpop import new_key, thumbprint, with_key
from vault_adapters.providers.profiles import Profile
from vault_adapters.runtime.json_forms import token_json
from vault_adapters.testing import ScriptedRefresher

__all__ = ["no_nonces"]

KEY, OTHER = new_key(), new_key()
ACCESS, REFRESH = (ACCOUNT.key(kind) for kind in (TokenKind.ACCESS_TOKEN, TokenKind.REFRESH_TOKEN))


def bound(number, *, refresh=True, key=KEY):
    return with_key(answer(number, refresh, token_type="DPoP"), key)


async def keys_of(vault):
    """Return the stored values and their keys."""
    tokens = [await vault.get_token(key) for key in (ACCESS, REFRESH)]
    return [(token.value.reveal(), token.proof_key) for token in tokens]


async def test_a_refresh_keeps_the_key_whatever_its_answer_holds(opened):
    """So does a process whose refresher knows nothing of keys."""
    scripted = ScriptedRefresher(answer(1, token_type="DPoP"), answer(2, refresh=False, token_type="DPoP"))
    vault = await opened(scripted)
    await vault.store_token_set(ACCOUNT, bound(0))
    await vault.refresh_account(ACCOUNT)
    assert await keys_of(vault) == [("access-1", KEY), ("refresh-1", KEY)]
    token = await vault.refresh_account(ACCOUNT)
    assert (token.value.reveal(), token.proof_key, dict(token.extra)) == ("access-2", KEY, {})
    assert await keys_of(vault) == [("access-2", KEY), ("refresh-1", KEY)]


async def test_a_refresh_token_that_comes_with_an_error_keeps_the_key(opened):
    vault = await opened(ScriptedRefresher(RefreshFailedError(refresh_token=Secret("refresh-1")), answer(2)))
    await vault.store_token_set(ACCOUNT, bound(0))
    with pytest.raises(RefreshFailedError):
        await vault.refresh_account(ACCOUNT)
    assert await keys_of(vault) == [("access-0", KEY), ("refresh-1", KEY)]


async def test_the_key_beside_the_refresh_token_counts(opened):
    """A new access token may come without a refresh token, by hand or by connecting again; the grant stays bound."""
    seen = []

    async def see(request):
        seen.append(request.extra.proof_key)
        return answer(2, token_type="DPoP")

    vault = await opened(ScriptedRefresher(see, see))
    await vault.store_token_set(ACCOUNT, bound(0))
    await vault.store_token(ACCESS, "by-hand")
    assert await keys_of(vault) == [("by-hand", None), ("refresh-0", KEY)]
    await vault.refresh_account(ACCOUNT)
    assert await keys_of(vault) == [("access-2", KEY), ("refresh-2", KEY)]
    await vault.store_token_set(ACCOUNT, bound(1, refresh=False, key=OTHER))
    assert await keys_of(vault) == [("access-1", OTHER), ("refresh-2", KEY)]
    await vault.refresh_account(ACCOUNT)
    assert await keys_of(vault) == [("access-2", KEY), ("refresh-2", KEY)]
    assert seen == [KEY, KEY]


async def test_connecting_again_replaces_the_key_and_a_bearer_token_ends_it(opened):
    vault = await opened()
    for token_set, key in ((bound(0), KEY), (bound(1, key=OTHER), OTHER), (answer(2), None)):
        await vault.store_token_set(ACCOUNT, token_set)
        assert [found for _, found in await keys_of(vault)] == [key, key]


async def test_an_answer_that_is_read_later_keeps_the_key(opened, provider, clock):
    """The answer was kept, because a profile's mistake made it unreadable; the access token is gone meanwhile."""
    profile = Profile(
        name="acme",
        title="Acme",
        docs=("https://docs.example.com",),
        checked=date(2026, 12, 1),
        token_url=provider.token_url,
        client_auth=["none"],
        answer={"within": ["wrong"]},
    )
    provider.answer(Answer(json={"data": token_answer("access-1", "refresh-1", token_type="DPoP").json}))
    vault = await opened(refresher(profile, "client"))
    await vault.store_token_set(ACCOUNT, bound(0))
    with pytest.raises(RefreshFailedError):
        await vault.refresh_account(ACCOUNT)
    await vault.store_token(ACCESS, "by-hand")
    clock.advance(MINUTE)
    mended = await opened(refresher(evolve(profile, answer={"within": ["data"]}), "client"))
    await mended.refresh_due()
    assert (await keys_of(mended))[1] == ("refresh-1", KEY)


@both_stores
async def test_a_key_survives_new_data_keys_and_ends_with_the_account(opened, config):
    vault = await opened()
    await vault.store_token_set(ACCOUNT, bound(0))
    await vault.keys.rotate_data_key(ACCOUNT.tenant_id)
    assert (await vault.keys.reencrypt()).incomplete is False
    assert await keys_of(vault) == [("access-0", KEY), ("refresh-0", KEY)]
    await vault.delete_account(ACCOUNT)
    assert rows_of(config, "token", "kind") == []


@both_stores
async def test_every_process_uses_the_same_key(opened, provider):
    """Another process with a refresher of its own proves by the key that is stored."""
    profile = Profile(
        name="acme",
        title="Acme",
        docs=("https://docs.example.com",),
        checked=date(2026, 12, 1),
        token_url=provider.token_url,
        client_auth=["none"],
    )
    provider.answer_always(token_answer("access-2", "refresh-2", token_type="DPoP"))
    for dpop in (True, False):
        vault = await opened(refresher(profile, "client", dpop=dpop))
        await vault.store_token_set(ACCOUNT, bound(0))
        await vault.refresh_account(ACCOUNT)
    assert {checked_proof(request, provider.token_url)[1] for request in provider.requests} == {thumbprint(KEY)}
    assert len(provider.requests) == 2


async def test_nothing_shows_the_key(opened, config, caplog):
    caplog.set_level(logging.DEBUG)
    events = []
    vault = await opened(ScriptedRefresher(answer(1, token_type="DPoP")), on_event=events.append)
    token_set = bound(0)
    await vault.store_token_set(ACCOUNT, token_set)
    token = await vault.refresh_account(ACCOUNT)
    shown = [
        token_set,
        token,
        token.extra,
        dict(token.extra),
        token.proof_key,
        token.info,
        token_json(token.info),
    ]
    shown += [*events, await vault.get_account(ACCOUNT), caplog.text]
    shown += [event async for event in vault.iter_audit_events()]
    assert KEY.reveal() not in f"{shown!r}{shown}"
    for row in rows_of(config, "token", "blob, extra"):
        assert all(KEY.reveal().encode() not in bytes(value) for value in row)
    with pytest.raises(TypeError):
        pickle.dumps(token.extra)
