"""What is remembered of tenants' own master keys, so that lists of accounts are cheap."""

import asyncio
import time

from vault_adapters.crypto.key_problems import KeyProblems
from vault_domain.entities.errors import KeyUnavailableError, StorageError
from vault_domain.ports.cipher import UnreadableError


class Tenants:
    """What is true of tenants, and which of them were examined."""

    def __init__(self, **outcomes):
        self.now, self.outcomes, self.examined = 0.0, outcomes, []
        self.problems = KeyProblems(self.examine, self.narrowed, 300.0, lambda: self.now)

    async def narrowed(self, tenant_ids):
        return {tenant_id for tenant_id in tenant_ids if self.outcomes[tenant_id] is not False}

    async def examine(self, tenant_id):
        self.examined.append(tenant_id)
        outcome = self.outcomes[tenant_id]
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is None:
            await asyncio.sleep(3600)
        return outcome


DENIED = KeyUnavailableError(reason="key_denied")


async def test_only_a_refusal_of_the_tenants_own_key_is_a_problem():
    tenants = Tenants(
        denied=DENIED,
        gone=KeyUnavailableError(reason="tenant_key_unavailable"),
        vaults=KeyUnavailableError(reason="kms_unavailable"),
        changed=UnreadableError("tag"),
        away=StorageError("away"),
        own=True,
        none=False,
    )
    found = await tenants.problems.find(tenants.outcomes)
    assert found == {"denied": "key_denied", "gone": "tenant_key_unavailable"}


async def test_a_tenant_without_a_key_of_its_own_is_examined_once_in_a_while():
    tenants = Tenants(none=False, own=True)
    for now in (0.0, 1.0, 299.0):
        tenants.now = now
        assert await tenants.problems.find(["none", "own"]) == {}
    assert sorted(tenants.examined) == ["none", "own", "own", "own"]
    tenants.now = 301.0
    await tenants.problems.find(["none"])
    tenants.problems.forget("none")  # it got a key of its own
    await tenants.problems.find(["none"])
    assert tenants.examined.count("none") == 3


async def test_a_refusal_of_a_moment_ago_is_told_again_without_asking():
    tenants = Tenants(own=DENIED)
    tenants.problems.note("own", DENIED)
    tenants.problems.note("other", KeyUnavailableError(reason="kms_unavailable"))
    assert await tenants.problems.find(["own"]) == {"own": "key_denied"}
    assert tenants.examined == []
    tenants.problems.refuse_again("other")
    tenants.now = 0.6
    await tenants.problems.find(["own"])
    assert tenants.examined == ["own"]


async def test_what_hangs_is_left_out_after_two_seconds():
    tenants = Tenants(hangs=None, denied=DENIED)
    began = time.monotonic()
    assert await tenants.problems.find(["hangs", "denied"]) == {"denied": "key_denied"}
    assert 1.5 < time.monotonic() - began < 3
    # Then the problem of last time is told, until the key has opened something.
    tenants.problems.note("hangs", KeyUnavailableError(reason="tenant_key_unavailable"))
    tenants.now = 1.0
    assert await tenants.problems.find(["hangs"]) == {"hangs": "tenant_key_unavailable"}
    tenants.problems.opened("hangs")
    assert await tenants.problems.find(["hangs"]) == {}


async def test_of_many_tenants_only_those_with_keys_of_their_own_are_examined():
    tenants = Tenants(**{f"none{number}": False for number in range(200)}, denied=DENIED, own=True)
    for _ in range(2):
        assert await tenants.problems.find(tenants.outcomes) == {"denied": "key_denied"}
    assert set(tenants.examined) == {"denied", "own"}
