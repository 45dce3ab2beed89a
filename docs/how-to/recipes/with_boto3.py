"""A session of boto3 whose clients send an account's token."""

import boto3
import botocore.session

from vault_adapters import Account, SyncVault
from vault_adapters.clients.boto3 import VaultTokenProvider


def session_of(vault: SyncVault, account: Account, *, hosts: list[str]) -> boto3.Session:
    session = botocore.session.Session()
    VaultTokenProvider(vault, account, hosts=hosts).register(session)
    return boto3.Session(botocore_session=session)
