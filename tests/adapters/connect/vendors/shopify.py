"""Shopify, from shopify.dev: authentication-authorization/authenticate-standalone-apps, access-tokens/
offline-access-tokens, changelog/offline-access-tokens-now-support-expiry-and-refresh, changelog/
more-resilient-refreshes-for-expiring-offline-access-tokens.
"""

import hashlib
import hmac

from tests.adapters.connect.vendors.base import RefusedError, Vendor, dead, form_of, json_of, later, misconfigured

SHOP = "acme.myshopify.com"


class Shopify(Vendor):
    """Each shop has its own host; the callback is signed; the API has a header of its own; the scopes have commas."""

    profiles = ("shopify",)
    begin = {"scopes": ["read_orders", "write_products"], "extra": {"shop": "acme"}}
    client_secret = "shpss-secret"
    asked_at = f"{SHOP}/admin/oauth/authorize"
    identifiers = ("acme",)
    extra = {"shop": "acme"}
    api = ("POST", f"https://{SHOP}/admin/api/2026-10/graphql.json")
    elsewhere = "https://other.myshopify.com/admin/api/2026-10/graphql.json"
    revokes = None
    bad_code = (400, {"error": "invalid_request", "error_description": "The authorization code was not found"})
    faults = (
        dead("invalid_grant", 400, {"error": "invalid_grant"}),
        dead(
            "invalid_grant",
            401,
            {"error": "invalid_request", "error_description": "This request requires an active refresh_token"},
        ),
        misconfigured("invalid_client", 400, {"error": "invalid_client"}),
        later("temporarily_unavailable", 429, {"errors": "Exceeded 2 calls per second"}),
        later("temporarily_unavailable", 503, {}),
    )

    def routes(self):
        """See `Vendor`."""
        return {
            f"POST {SHOP}/admin/oauth/access_token": self.token,
            f"POST {SHOP}/admin/api/2026-10/graphql.json": self.graphql,
        }

    def check_request(self, asked):
        """The page shows no response_type."""
        assert set(asked["scope"].split(",")) == {"read_orders", "write_products"}
        assert "grant_options[]" not in asked  # per-user would give an online token

    def callback(self, given):
        """Sign the sorted parameters with the client's secret, as the page says."""
        signed = {**given, "host": "YWRtaW4uc2hvcGlmeS5jb20", "shop": SHOP, "timestamp": "1337178173"}
        text = "&".join(f"{name}={value}" for name, value in sorted(signed.items()))
        digest = hmac.new(self.client_secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        return {**signed, "hmac": digest}

    def token(self, request):
        """The exchange asks for an expiring token; a refresh replaces the refresh token."""
        is_json = request.headers["content-type"].startswith("application/json")
        members = json_of(request) if is_json else form_of(request)
        self.check_post(members)
        if members.get("grant_type") == "refresh_token":
            self.refreshing()
            if members["refresh_token"] not in self.refresh:
                raise RefusedError(400, {"error": "invalid_grant"})
        else:
            self.spent_code(members)
            assert str(members["expiring"]) == "1"
        # "retain the previously used refresh token until an app begins using its replacement"
        used = members.get("refresh_token")
        self.refresh = {token: None for token in self.refresh if token == used}
        return {
            "access_token": self.new_access("shpat"),
            "scope": "read_orders,write_products",
            "expires_in": 3600,
            "refresh_token": self.new_refresh(kind="shprt"),
            "refresh_token_expires_in": 7_776_000,
        }

    def graphql(self, request):
        """An API request; the token is in a header of its own."""
        assert "authorization" not in request.headers
        if not self.authorized(request.headers["x-shopify-access-token"]):
            raise RefusedError(401, {"errors": "[API] Invalid API key or access token"})
        return {"data": {}}
