"""Thirteen vendors, each as its own pages describe it: connect, call the API, refresh twice, revoke, all errors."""

import logging
import traceback
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from tests.adapters.connect.stubs import CALLBACK, reached
from tests.adapters.connect.vendors.atlassian import Atlassian
from tests.adapters.connect.vendors.docusign import Docusign
from tests.adapters.connect.vendors.github import GitHub, Installations
from tests.adapters.connect.vendors.google import Google
from tests.adapters.connect.vendors.instagram import Instagram
from tests.adapters.connect.vendors.meta import Meta
from tests.adapters.connect.vendors.microsoft import Microsoft
from tests.adapters.connect.vendors.quickbooks import QuickBooks
from tests.adapters.connect.vendors.salesforce import Salesforce
from tests.adapters.connect.vendors.shopify import Shopify
from tests.adapters.connect.vendors.slack import Slack
from tests.adapters.connect.vendors.xero import Xero
from tests.adapters.connect.vendors.zoho import Zoho
from tests.support.scripted_provider import Answer

from vault_adapters import (
    Account,
    AuthorizationRefusedError,
    ConfigurationError,
    ConnectError,
    RefreshFailedError,
    Secret,
    TokenKind,
    TokenSet,
    VaultError,
)
from vault_adapters.clients.httpx2 import VaultAuth
from vault_adapters.connect import Connector
from vault_adapters.connect.client import as_clients
from vault_adapters.providers import GitHubAppRefresher, SigningKey, refresher
from vault_adapters.testing import memory_vault

VENDORS = [
    Slack,
    Salesforce,
    Microsoft,
    Google,
    QuickBooks,
    Docusign,
    Zoho,
    Atlassian,
    Shopify,
    GitHub,
    Meta,
    Xero,
    Instagram,
]
each = pytest.mark.parametrize("kind", VENDORS, ids=[kind.__name__ for kind in VENDORS])


@asynccontextmanager
async def opened(vendor):
    """Yield a vault whose refreshers reach the vendor, its connector, and an HTTP client that reaches the vendor."""
    async with reached(vendor) as http:
        client = (vendor.client_id, vendor.client_secret)
        known = {
            name: refresher(name, *client, client=http, private_addresses=True, **vendor.options)
            for name in vendor.profiles
        }
        async with memory_vault(clock=vendor.clock, refreshers=known) as vault:
            yield vault, Connector(vault, known, redirect_uri=f"{CALLBACK}/{{provider}}"), http


async def callback(vendor, connector):
    start = await connector.begin("t1", vendor.profiles[0], session="s", **vendor.begin)
    return vendor.consent(start.url)


async def connected(vendor, connector):
    query = await callback(vendor, connector)
    infos = await connector.finish_all(query, session="s", provider=vendor.profiles[0])
    assert tuple(info.account.identifier for info in infos) == vendor.identifiers
    return [info.account for info in infos]


@each
async def test_an_account_is_connected_used_refreshed_twice_and_revoked(clock, kind, caplog):
    vendor = kind(clock)
    async with opened(vendor) as (vault, connector, http):
        query = await callback(vendor, connector)
        vendor.codes.clear()
        with pytest.raises(AuthorizationRefusedError):
            await connector.finish(query, session="s", provider=vendor.profiles[0])
        assert (await vault.list_accounts("t1")).items == ()
        accounts = await connected(vendor, connector)
        assert caplog.text == ""  # no token of the answer is left over
        kept = dict((await vault.get_token(accounts[0].key(TokenKind.ACCESS_TOKEN))).extra)
        assert kept.items() >= vendor.extra.items()
        for refreshes in range(3):
            for account in accounts:
                answer = await http.request(*vendor.api, auth=VaultAuth(vault, account))
                assert answer.status_code == 200
                with pytest.raises(ConfigurationError):
                    await http.get(vendor.elsewhere, auth=VaultAuth(vault, account))
            assert vendor.refreshed == refreshes * len(accounts)
            # A token that is exchanged must not have expired.
            clock.advance(timedelta(seconds=vendor.lifetime - (30 if vendor.exchanges else 0)))
        deletion = await vault.delete_account(accounts[0], revoke=True)
        assert deletion.revoked is vendor.revokes
        assert len(vendor.revoked) == (1 if vendor.revokes else 0)


@each
async def test_each_error_has_its_cause(clock, kind):
    vendor = kind(clock)
    async with opened(vendor) as (vault, _, _):
        for number, fault in enumerate(vendor.faults):
            account = Account("t1", vendor.profiles[0], f"a-{number}")
            await vault.store_token_set(account, TokenSet("access", "refresh", expires_in=3600, extra=vendor.extra))
            vendor.fail_next(fault.answer)
            with pytest.raises(VaultError) as caught:
                await vault.refresh_account(account)
            error = caught.value
            what = fault.answer.json
            assert (type(error), error.reason) == (fault.error, fault.reason), what
            if fault.error is RefreshFailedError:
                assert error.outcome_unknown is fault.unknown, what


@pytest.mark.parametrize(
    "answer",
    [Answer(status=400, json={"error": {"code": 190}}), Answer(status=503), Answer(json={}), Answer(drop="fin")],
)
async def test_without_a_token_that_lasts_nothing_is_stored(clock, answer, caplog):
    """Instagram's first token lasts an hour, and no refresh takes it. No log shows it, although a URL holds it."""
    caplog.set_level(logging.DEBUG)
    vendor = Instagram(clock)
    vendor.longer = lambda _: answer
    async with opened(vendor) as (vault, connector, _):
        query = await callback(vendor, connector)
        with pytest.raises(ConnectError) as caught:
            await connector.finish(query, session="s", provider="instagram")
        assert (await vault.list_accounts("t1")).items == ()
    assert "instagram.com" not in caplog.text
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert vendor.client_secret not in shown
    assert "short-" not in shown


async def test_a_token_of_the_form_without_a_list_is_exchanged_too(clock):
    """The page shows a list of one; answers have been seen without it, with the user's id as a number."""
    vendor = Instagram(clock)
    listed = vendor.token

    def token(request):
        [found] = listed(request)["data"]
        return {**found, "user_id": int(found["user_id"]), "permissions": ["instagram_business_basic"]}

    vendor.token = token
    async with opened(vendor) as (vault, connector, _):
        [account] = await connected(vendor, connector)
        assert (await vault.get_account(account)).scopes == ("instagram_business_basic",)


def test_a_public_client_cannot_get_a_token_that_lasts():
    public = refresher("instagram", "client", auth_method="none")
    with pytest.raises(ConfigurationError, match="client_secret"):
        as_clients({"instagram": public})


async def test_an_installation_of_a_github_app_gets_its_own_tokens(clock):
    vendor = Installations(clock)
    key = SigningKey.from_pem(vendor.key.as_pem(private=True).decode())
    installation = Secret.from_fields(installation_id="42")
    async with reached(vendor) as http:
        known = {"github-app": GitHubAppRefresher(vendor.client_id, key, client=http)}
        async with memory_vault(clock=clock, refreshers=known) as vault:
            account = Account("t1", "github-app", "42")
            await vault.store_token(account.key(TokenKind.API_KEY), installation)
            for refreshes in (1, 2, 3):
                auth = VaultAuth(vault, account, hosts=["api.github.com"])
                assert (await http.request(*vendor.api, auth=auth)).status_code == 200
                assert vendor.refreshed == refreshes
                clock.advance(timedelta(seconds=vendor.lifetime))
            for number, fault in enumerate(vendor.faults):
                other = Account("t1", "github-app", f"a-{number}")
                await vault.store_token(other.key(TokenKind.API_KEY), installation)
                vendor.fail_next(fault.answer)
                with pytest.raises(VaultError) as caught:
                    await vault.refresh_account(other)
                assert (type(caught.value), caught.value.reason) == (fault.error, fault.reason)
