"""Keeps a user of Django and the user's API key in one transaction; `django_project` is this project's vault."""

from django.contrib.auth.models import User
from django.db import connection, transaction
from django_project import vault

from vault_adapters import Account, TokenKind


def add(name: str, api_key: str) -> None:
    with transaction.atomic():
        User.objects.create(username=name)
        vault.on(connection).store_token(Account("tenant-1", "stripe", name).key(TokenKind.API_KEY), api_key)


def remove(name: str) -> None:
    with transaction.atomic():
        vault.on(connection).delete_account(Account("tenant-1", "stripe", name))
        User.objects.get(username=name).delete()
