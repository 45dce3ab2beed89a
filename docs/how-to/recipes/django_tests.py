"""Tests of a Django project: each has an empty vault in memory, and a provider that follows a script."""

from datetime import timedelta
from unittest import mock

import django_tasks
from django.test import TestCase

from vault_adapters import Account, ReauthorizationRequiredError, RefreshFailedError, TokenSet
from vault_adapters.testing import ManualClock, ScriptedRefresher, memory_sync_vault


class VaultTestCase(TestCase):
    """Puts ``self.vault`` in the place of the project's vault."""

    def setUp(self) -> None:
        self.clock = ManualClock()
        self.google = ScriptedRefresher()
        vault = memory_sync_vault(refreshers={"google": self.google}, clock=self.clock)
        self.vault = self.enterContext(vault)
        self.enterContext(mock.patch("django_project.vault", self.vault))


class ReadProfile(VaultTestCase):
    def test_a_tenant_that_never_connected(self) -> None:
        assert django_tasks.read_profile("1", "ana") == "connect again"

    def test_the_grant_has_ended(self) -> None:
        self.vault.store_token_set(Account("1", "google", "ana"), TokenSet("old", "refresh", expires_in=3600))
        self.clock.advance(timedelta(hours=1))
        self.google.then(ReauthorizationRequiredError())
        assert django_tasks.read_profile("1", "ana") == "connect again"

    def test_the_provider_is_unavailable(self) -> None:
        self.vault.store_token_set(Account("1", "google", "ana"), TokenSet("old", "refresh", expires_in=3600))
        self.clock.advance(timedelta(hours=1))
        self.google.then(RefreshFailedError())
        outcome = django_tasks.read_profile.apply(("1", "ana"))  # runs it here, with its retries
        assert isinstance(outcome.result, RefreshFailedError)
        assert len(self.google.calls) == 1  # the retries came within the backoff, so the provider was asked once
