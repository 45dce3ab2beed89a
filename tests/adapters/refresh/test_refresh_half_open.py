"""Connections to Postgres stop answering while a provider answers; the answer is stored on another connection."""

import asyncio
from contextlib import nullcontext, suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.adapters.refresh.refresh_kit import ACCOUNT, HOUR, answer, eventually, make_config, store, stored
from tests.support.fault_proxy import fault_proxy

from vault_adapters import open_vault
from vault_adapters.testing import ScriptedRefresher
from vault_domain import RefreshNotPersistedError

NEW = {"access_token": "access-1", "refresh_token": "refresh-1"}


@pytest.fixture
def url(postgres):
    """Return the URL of an empty database."""
    return postgres.create_database(f"half_open_{uuid4().hex}")


@pytest.mark.parametrize("journaled", [True, False])
async def test_an_answer_lands_although_the_pool_fell_silent(url, tmp_path, clock, journaled):
    """The commit hangs on a silent connection. The next try commits on another connection, and succeeds."""
    with fault_proxy(url) as proxy:

        async def ask(request):
            proxy.silence()
            return answer(1)

        refresher = ScriptedRefresher(ask)
        config = make_config(
            proxy.url,
            journal_dir=tmp_path / "journal" if journaled else None,
            storage_timeout=timedelta(seconds=2),
        )
        async with open_vault(config, refreshers={ACCOUNT.provider: refresher}, clock=clock) as vault:
            await store(vault)
            await asyncio.gather(*(vault.get_account(ACCOUNT) for _ in range(4)))  # several connections in the pool
            clock.advance(HOUR)
            # Without a journal, the caller gives up if the pool has many silent connections; the vault does not.
            with nullcontext() if journaled else suppress(RefreshNotPersistedError):
                assert (await vault.ensure_access_token(ACCOUNT)).value.reveal() == "access-1"
            async with open_vault(make_config(url), clock=clock) as other:

                async def has_landed():
                    return await stored(other) == NEW

                await eventually(has_landed)
            assert len(refresher.calls) == 1
