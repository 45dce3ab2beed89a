"""A census is whole or an error: a store that fails midway gives no empty counts."""

import pytest
from tests.services.fakes import Failing, MemoryJournal

from vault_adapters import StorageError
from vault_domain.services.tokens.census import CensusService
from vault_domain.services.tokens.health import HealthService
from vault_domain.services.tokens.listing import ListingService
from vault_domain.services.tokens.readiness import ReadinessService


async def test_a_store_that_fails_while_it_counts_tokens_is_an_error(cases):
    away = StorageError("away", retryable=True, reason="timeout")
    store, pages = cases.store, Failing(cases.store.pages, "count_health", away)
    listing = ListingService(pages, store.audit, {}, store.keys, cases.cipher)
    ready = ReadinessService(store.upkeep, cases.cipher, cases.tasks, MemoryJournal())
    policy = cases.tokens._policy
    health = HealthService(pages, ready, cases.opener, policy.buffer, store.clients)
    with pytest.raises(StorageError) as caught:
        await CensusService(pages, listing, health, ()).take()
    assert caught.value.reason == "timeout"
