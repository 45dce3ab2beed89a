"""The endpoints: two of django-oauth-toolkit, a resource, and three for the tests to control and inspect the server."""

import json
import threading
import time
from typing import Any, Final

from django.db import transaction  # type: ignore[import-untyped, unused-ignore]
from django.http import JsonResponse  # type: ignore[import-untyped, unused-ignore]
from django.urls import path  # type: ignore[import-untyped, unused-ignore]
from django.views.decorators.csrf import csrf_exempt  # type: ignore[import-untyped, unused-ignore]
from oauth2_provider.oauth2_backends import (  # type: ignore[import-untyped, unused-ignore]
    get_oauthlib_core,
)
from oauth2_provider.views import (  # type: ignore[import-untyped, unused-ignore]
    RevokeTokenView,
    TokenView,
)

from . import accounts
from .configuration import read_arguments
from .ledger import Ledger

CLIENT_ID: Final = "vault-client"

_OPTIONS: Final = read_arguments()[1]
_LEDGER: Final = Ledger()
# The toolkit reads a refresh token before its transaction begins. So two concurrent requests with one refresh token
# would both get new tokens. The lock prevents this, as a strict provider must. It is fairer than SQLite's own waiting.
_ONE_AT_A_TIME: Final = threading.Lock()
_token_view: Final = TokenView.as_view()
_revoke_view: Final = RevokeTokenView.as_view()


def token(request: Any) -> Any:
    """RFC 6749 token endpoint."""
    with _ONE_AT_A_TIME, transaction.atomic():
        response = _token_view(request)
    _LEDGER.count_token_answer(request.POST.get("refresh_token"), response.status_code, response.content)
    time.sleep(_OPTIONS.latency_seconds)
    return response


def revoke(request: Any) -> Any:
    """RFC 7009 revocation endpoint."""
    with _ONE_AT_A_TIME, transaction.atomic():
        response = _revoke_view(request)
    if response.status_code == 200:
        _LEDGER.count("revocations")
    return response


def me(request: Any) -> Any:
    """RFC 6750 resource."""
    valid, verified = get_oauthlib_core().verify_request(request, scopes=[])
    if valid:
        _LEDGER.count("resource_ok")
        user = verified.user
        return JsonResponse({"account": None if user is None else user.username})
    _LEDGER.count("resource_unauthorized")
    challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    return JsonResponse({"error": "invalid_token"}, status=401, headers=challenge)


def issue(request: Any) -> Any:
    """Create users with tokens."""
    count = json.loads(request.body)["count"]
    with _ONE_AT_A_TIME:
        pairs = accounts.issue(CLIENT_ID, count, _OPTIONS.access_token_seconds)
    return JsonResponse({"pairs": pairs})


def expire(_request: Any) -> Any:
    """Let all access tokens expire."""
    with _ONE_AT_A_TIME:
        return JsonResponse({"expired": accounts.expire_access_tokens()})


def stats(_request: Any) -> Any:
    """Tell what was answered so far."""
    return JsonResponse({**_LEDGER.as_dict(), "live_refresh_tokens": accounts.live_refresh_tokens()})


urlpatterns = [
    path("o/token/", csrf_exempt(token)),
    path("o/revoke_token/", csrf_exempt(revoke)),
    path("api/me", me),
    path("inspect/issue", csrf_exempt(issue)),
    path("inspect/expire", csrf_exempt(expire)),
    path("inspect/stats", csrf_exempt(stats)),
]
