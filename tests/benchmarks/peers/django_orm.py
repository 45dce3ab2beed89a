"""Django's ORM with an encrypted field of django-fernet-encrypted-fields: synchronous, a thread for each caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict
from tests.benchmarks.peers.peer import Peer, Place
from tests.benchmarks.vaults import EXPIRY, VALUE

_THREADS = 64


@asynccontextmanager
async def django_peer(url: str, places: Sequence[Place], next_place: Callable[[], Place]) -> AsyncIterator[Peer]:
    """Give the peer over a filled table of its own; each thread keeps its connection."""
    model = _model(url)
    loop = asyncio.get_running_loop()
    from django.core.cache import cache

    with ThreadPoolExecutor(_THREADS) as threads:
        await loop.run_in_executor(threads, _fill, model, places)

        def gets(wanted: Sequence[Place]) -> None:
            for tenant, provider, kind, identifier in wanted:
                row = model.objects.get(tenant=tenant, provider=provider, kind=kind, identifier=identifier)
                if row.value != VALUE:
                    raise RuntimeError("not the value that was stored")

        async def get(callers: int, each: int) -> int:
            wanted = [[next_place() for _ in range(each)] for _ in range(callers)]
            await asyncio.gather(*(loop.run_in_executor(threads, gets, places) for places in wanted))
            return callers * each

        def cached_gets(wanted: Sequence[Place]) -> None:
            for place in wanted:
                key = sha256("\0".join(place).encode()).hexdigest()
                value = cache.get(key)
                if value is None:
                    tenant, provider, kind, identifier = place
                    row = model.objects.get(tenant=tenant, provider=provider, kind=kind, identifier=identifier)
                    value = row.value
                    cache.set(key, value)
                if value != VALUE:
                    raise RuntimeError("not the value that was stored")

        async def get_cached(callers: int, each: int) -> int:
            wanted = [[next_place() for _ in range(each)] for _ in range(callers)]
            await asyncio.gather(*(loop.run_in_executor(threads, cached_gets, places) for places in wanted))
            return callers * each

        name = "Django ORM, django-fernet-encrypted-fields"
        try:
            yield Peer(name, get, cached=get_cached, cached_name=f"{name}, values in clear in Django's local cache")
        finally:
            meeting = threading.Barrier(_THREADS)
            await asyncio.gather(*(loop.run_in_executor(threads, _close, meeting) for _ in range(_THREADS)))


def _model(url: str) -> Any:
    parts = conninfo_to_dict(url)
    settings.configure(
        SECRET_KEY="a secret key for benchmarks only",
        SALT_KEY="a salt",
        USE_TZ=True,
        INSTALLED_APPS=[],
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
                "TIMEOUT": 86_400,
                "OPTIONS": {"MAX_ENTRIES": 100_000},
            }
        },
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": parts["dbname"],
                "USER": parts["user"],
                "PASSWORD": parts.get("password", ""),
                "HOST": parts["host"],
                "PORT": parts["port"],
                "CONN_MAX_AGE": None,
            }
        },
    )
    django.setup()
    from django.db import models
    from encrypted_fields.fields import EncryptedTextField

    class Token(models.Model):
        tenant = models.TextField()
        provider = models.TextField()
        kind = models.TextField()
        identifier = models.TextField()
        status = models.TextField()
        expires_at = models.DateTimeField(null=True)
        value = EncryptedTextField()

        class Meta:
            app_label = "benchmarks"
            db_table = "django_token"
            constraints = (
                models.UniqueConstraint(fields=["tenant", "provider", "kind", "identifier"], name="django_token_key"),
            )

    return Token


def _fill(model: Any, places: Sequence[Place]) -> None:
    from django.db import connection

    with connection.schema_editor() as editor:
        editor.create_model(model)
    model.objects.bulk_create(
        model(
            tenant=tenant,
            provider=provider,
            kind=kind,
            identifier=identifier,
            status="valid",
            expires_at=EXPIRY,
            value=VALUE,
        )
        for tenant, provider, kind, identifier in places
    )


def _close(meeting: threading.Barrier) -> None:
    """Close this thread's connection; the barrier makes sure that each thread does this once."""
    from django.db import connection

    meeting.wait(30)
    connection.close()
