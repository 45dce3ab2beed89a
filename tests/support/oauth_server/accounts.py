"""Writes applications, users and tokens straight to the database, because consent pages are not tested."""

import uuid
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model  # type: ignore[import-untyped, unused-ignore]
from django.db import transaction  # type: ignore[import-untyped, unused-ignore]
from django.utils import timezone  # type: ignore[import-untyped, unused-ignore]
from oauth2_provider.models import (  # type: ignore[import-untyped, unused-ignore]
    get_access_token_model,
    get_application_model,
    get_refresh_token_model,
)
from oauthlib.common import generate_token  # type: ignore[import-untyped, unused-ignore]


def create_application(client_id: str, client_secret: str, grant_type: str) -> Any:
    """Register a confidential client. Its secret is not hashed, because hashing would take most of each request."""
    return get_application_model().objects.create(
        name=client_id,
        client_id=client_id,
        client_secret=client_secret,
        hash_client_secret=False,
        client_type="confidential",
        authorization_grant_type=grant_type,
        redirect_uris="http://127.0.0.1/callback",
    )


@transaction.atomic  # type: ignore[untyped-decorator, unused-ignore]
def issue(client_id: str, count: int, expires_in: int) -> list[dict[str, Any]]:
    """Create users with one pair of tokens each, in a handful of statements."""
    application = get_application_model().objects.get(client_id=client_id)
    users = _create_users(count)
    access_tokens = get_access_token_model().objects.bulk_create(
        get_access_token_model()(
            user=user,
            token=generate_token(),
            application=application,
            expires=timezone.now() + timedelta(seconds=expires_in),
            scope="read write",
        )
        for user in users
    )
    refresh_tokens = get_refresh_token_model().objects.bulk_create(
        get_refresh_token_model()(
            user=access_token.user,
            token=generate_token(),
            application=application,
            access_token=access_token,
            token_family=uuid.uuid4(),
        )
        for access_token in access_tokens
    )
    return [_pair(refresh_token, expires_in) for refresh_token in refresh_tokens]


def expire_access_tokens() -> int:
    """Let every access token expire now."""
    return int(get_access_token_model().objects.update(expires=timezone.now()))


def live_refresh_tokens() -> int:
    """Count the refresh tokens that the server would still accept."""
    live = get_refresh_token_model().objects.filter(revoked__isnull=True, access_token__isnull=False)
    return int(live.count())


def _create_users(count: int) -> list[Any]:
    model = get_user_model()
    # The numbers go on after the users of earlier calls. The password `!` is unusable, so it needs no hash.
    start = model.objects.count()
    names = [f"user-{number}" for number in range(start, start + count)]
    users = model.objects.bulk_create(model(username=name, password="!") for name in names)
    return list(users)


def _pair(refresh_token: Any, expires_in: int) -> dict[str, Any]:
    return {
        "account": refresh_token.user.username,
        "access_token": refresh_token.access_token.token,
        "refresh_token": refresh_token.token,
        "expires_in": expires_in,
    }
