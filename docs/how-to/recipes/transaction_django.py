"""Keeps a user of Django and the user's API key in one transaction; `django_project` is this project's vault."""

import django_project
from django.contrib.auth.models import User
from django.db import connection, transaction

from vault_adapters import Account, TokenKind


def add(name: str, api_key: str) -> None:
    with transaction.atomic():
        User.objects.create(username=name)
        django_project.vault.on(connection).store_token(
            Account("tenant-1", "stripe", name).key(TokenKind.API_KEY), api_key
        )


def remove(name: str) -> None:
    with transaction.atomic():
        django_project.vault.on(connection).delete_account(Account("tenant-1", "stripe", name))
        User.objects.get(username=name).delete()
