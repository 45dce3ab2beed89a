"""Whoever writes to the database neither learns a new data key nor takes a tenant's own master key off."""

import pytest
from tests.support.transit_server import running

from vault_adapters import DecryptionError, TokenKey, TokenKind, Tuning

OWN = TokenKey("own", "acme", TokenKind.API_KEY)
OTHER = TokenKey("other", "acme", TokenKind.API_KEY)


@pytest.fixture(scope="module")
def transit():
    with running() as server:
        yield server


@pytest.fixture
def place(place, transit, tmp_path):
    place.settings["tuning"] = Tuning(key_service_tokens=transit.tokens(tmp_path))
    return place


@pytest.fixture
async def moved(place, transit):
    """A tenant under a key of its own; returns the key's URI."""
    uri = transit.uri("mine")
    async with place.vault() as vault:
        await vault.store_tokens([(OWN, "one"), (OTHER, "two")])
        await vault.keys.set_tenant_master_key("own", uri)
    return uri


def wrap_of(place, tenant="own"):
    [(wrapped,)] = place.rows("SELECT wrapped FROM {data_key_wrap} WHERE tenant_id = ?", tenant)
    return bytes(wrapped)


def put(place, wrapped, tenant="own"):
    place.rows("UPDATE {data_key_wrap} SET wrapped = ? WHERE tenant_id = ?", wrapped, tenant)


def changed(place, mine, theirs):
    """Return the wrap with another URI in its place, of any length."""
    old, new = ((len(uri).to_bytes(2) + uri.encode()) for uri in (mine, theirs))
    return wrap_of(place).replace(old, new)


async def test_a_new_data_key_is_not_sent_to_a_key_that_only_the_row_names(place, transit, moved):
    put(place, changed(place, moved, transit.uri("theirs")))
    async with place.vault() as vault:
        with pytest.raises(DecryptionError):
            await vault.keys.rotate_data_key("own")
        report = await vault.keys.rotate_data_keys()
        assert (report.rotated, report.incomplete) == (1, True)
        assert [key.tenant_id for key in report.unreadable] == ["own"]
    assert transit.asked("theirs") == 0


async def test_the_status_asks_no_key_that_only_the_row_names(place, transit, moved):
    put(place, changed(place, moved, transit.uri("status")))
    async with place.vault() as vault:
        status = await vault.keys.status(tenant_id="own")
        assert (status.tenant_master_key, status.tenant_key_problem) == (None, "data_key_changed")
    assert transit.asked("status") == 0


async def test_a_forged_wrap_with_the_wanted_name_is_not_taken_for_it(place, transit, moved):
    wanted = transit.uri("wanted")
    put(place, changed(place, moved, wanted))
    async with place.vault() as vault:
        report = await vault.keys.set_tenant_master_key("own", wanted)
        assert [key.tenant_id for key in report.unreadable] == ["own"]


@pytest.mark.parametrize("forge", [lambda _: b"garbage", lambda place: wrap_of(place, "other")])
async def test_a_wrong_wrap_is_no_new_beginning(place, moved, forge):
    put(place, forge(place))
    async with place.vault() as vault:
        with pytest.raises(DecryptionError):
            await vault.keys.rotate_data_key("own")
