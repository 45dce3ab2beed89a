"""A census is whole or an error: a store that fails midway gives no empty counts."""

import pytest
from attrs import evolve
from tests.services.fakes import Failing, MemoryJournal

from vault_adapters import StorageError
from vault_domain.services.tokens.census import CensusService
from vault_domain.services.tokens.health import HealthService
from vault_domain.services.tokens.listing import ListingService
from vault_domain.services.tokens.readiness import ReadinessService


async def test_a_store_that_fails_while_it_counts_tokens_is_an_error(cases):
    away = StorageError("away", retryable=True, reason="timeout")
    tokens = Failing(cases.store.tokens, "count_health", away)
    store = evolve(cases.store, tokens=tokens)
    listing = ListingService(tokens, store.accounts, store.audit, {}, store.keys)
    ready = ReadinessService(tokens, cases.cipher, cases.tasks, MemoryJournal())
    policy = cases.tokens._policy
    health = HealthService(tokens, ready, cases.opener, policy.buffer, store.clients, store.unread)
    with pytest.raises(StorageError) as caught:
        await CensusService(store.accounts, listing, health, ()).take()
    assert caught.value.reason == "timeout"
