"""Xero, from developer.xero.com/documentation/guides/oauth2: auth-flow, token-types, troubleshooting; github.com/
XeroAPI/xero-node (revocation).
"""

from datetime import timedelta

from tests.adapters.connect.vendors.base import OpenIdVendor, RefusedError, bearer, dead, form_of, later, misconfigured


class Xero(OpenIdVendor):
    """A used refresh token works 30 minutes longer; the organisations are in a list of their own."""

    profiles = ("xero",)
    begin = {"scopes": ["accounting.transactions"]}
    lifetime = 1800
    asked_at = "login.xero.com/identity/connect/authorize"
    issuer, keys_at = "https://identity.xero.com", "identity.xero.com/.well-known/openid-configuration/jwks"
    identifiers = ("db0bc2b7-0001",)
    extra = {"tenant_ids": "70784a63-d24b-46a9-a4db-0e70a274b056"}
    api = ("GET", "https://api.xero.com/api.xro/2.0/Invoices")
    elsewhere = "https://api.xero.com.evil.example/api.xro/2.0/Invoices"
    faults = (
        dead("invalid_grant", 400, {"error": "invalid_grant"}),
        misconfigured("invalid_client", 400, {"error": "invalid_client"}),
        misconfigured("unauthorized_client", 400, {"error": "unauthorized_client"}),
        later("temporarily_unavailable", 429, {}, headers={"retry-after": "11"}),
    )

    def routes(self):
        """See `Vendor`."""
        return {
            **self.openid_routes(),
            "POST identity.xero.com/connect/token": self.token,
            "POST identity.xero.com/connect/revocation": self.revoke,
            "GET api.xero.com/connections": self.connections,
            "GET api.xero.com/api.xro/2.0/Invoices": self.invoices,
        }

    def check_request(self, asked):
        """Scopes are separated by spaces; offline_access gives a refresh token."""
        super().check_request(asked)
        assert {"offline_access", "accounting.transactions"} <= set(asked["scope"].split(" "))

    def token(self, request):
        """Client and secret are in the header."""
        self.check_basic(request)
        form = form_of(request)
        if form["grant_type"] == "refresh_token":
            self.refreshing()
            asked, used_at = self.refresh.get(form["refresh_token"], (None, None))
            is_late = used_at is not None and self.clock.now() - used_at > timedelta(minutes=30)
            if asked is None or is_late:
                raise RefusedError(400, {"error": "invalid_grant"})
            self.refresh[form["refresh_token"]] = (asked, used_at or self.clock.now())
        else:
            asked = self.spent_code(form)
        answer = {
            "id_token": self.id_token(asked, sub="db0bc2b7-0001", xero_userid="1", email="ana@example.com"),
            "access_token": self.new_access("eyJhbGci"),
            "expires_in": 1800,
            "token_type": "Bearer",
            "refresh_token": self.new_refresh((asked, None)),
            "scope": asked["scope"],
        }
        return {name: value for name, value in answer.items() if value}

    def connections(self, request):
        """The tenants that the user has connected."""
        assert self.authorized(bearer(request))
        return [{"id": "e1eede29-0001", "tenantId": self.extra["tenant_ids"], "tenantType": "ORGANISATION"}]

    def invoices(self, request):
        """An API request; the tenant is a header that the host sets."""
        if not self.authorized(bearer(request)):
            raise RefusedError(401, {"Title": "Unauthorized", "Detail": "TokenExpired"})
        return {"Invoices": []}

    def revoke(self, request):
        """A refresh token ends with the user's connections; 200 without a body."""
        self.check_basic(request)
        token = form_of(request)["token"]
        if self.refresh.pop(token, None) is None:
            raise RefusedError(400, {"error": "invalid_request"})
        self.revoked.append(token)
        return {}
