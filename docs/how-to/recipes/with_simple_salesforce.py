"""A client of simple-salesforce with an account's token."""

import requests
from simple_salesforce import Salesforce

from vault_adapters import Account, SyncVault
from vault_adapters.clients.requests import VaultAuth


def salesforce_of(
    vault: SyncVault, account: Account, session: requests.Session, hosts: list[str] | None = None
) -> Salesforce:
    session.auth = VaultAuth(
        vault, account, hosts=hosts
    )  # replaces the header that simple-salesforce makes of session_id
    instance_url = vault.ensure_access_token(account).extra["instance_url"]
    return Salesforce(instance_url=instance_url, session_id="the vault's", session=session)
