"""QuickBooks, from developer.intuit.com/app/developer/qbo/docs/develop/authentication-and-authorization: oauth-2.0,
openid-connect, oauth-openid-discovery-doc; github.com/intuit/oauth-jsclient (endpoints, form of the revocation).
"""

from datetime import timedelta

from tests.adapters.connect.vendors.base import (
    OpenIdVendor,
    RefusedError,
    bearer,
    dead,
    form_of,
    json_of,
    later,
    misconfigured,
)

BAD_TOKEN = {"error": "invalid_grant", "error_description": "Incorrect or invalid refresh token"}


class QuickBooks(OpenIdVendor):
    """The callback states the company (realmId); the refresh token is replaced every 24 hours, not at each refresh."""

    profiles = ("quickbooks",)
    begin = {"scopes": ["com.intuit.quickbooks.accounting"]}
    client_id, client_secret = "ABclient", "secret-of-intuit"
    asked_at = "appcenter.intuit.com/connect/oauth2"
    issuer = "https://oauth.platform.intuit.com/op/v1"
    identifiers = ("4620816365:1182d6ec-2a1f",)
    extra = {"realm_id": "4620816365"}
    api = ("GET", "https://quickbooks.api.intuit.com/v3/company/4620816365/companyinfo/4620816365")
    elsewhere = "https://quickbooks.api.intuit.com.evil.example/v3/company/4620816365"
    faults = (
        dead("invalid_grant", 400, BAD_TOKEN),
        misconfigured("invalid_client", 401, {"error": "invalid_client"}),
        later("temporarily_unavailable", 429, {"error": "too_many_requests"}),
        later("temporarily_unavailable", 503, {}),
    )

    def __init__(self, clock):
        super().__init__(clock)
        self._current = self._made = None

    def routes(self):
        """See `Vendor`. There is no document below the issuer; the page shows it at developer.api.intuit.com."""
        document = {"issuer": self.issuer, "jwks_uri": "https://oauth.platform.intuit.com/op/v1/jwks"}
        return {
            "GET developer.api.intuit.com/.well-known/openid_configuration": lambda _: document,
            "GET oauth.platform.intuit.com/op/v1/jwks": lambda _: self._signer.keys(),
            "POST oauth.platform.intuit.com/oauth2/v1/tokens/bearer": self.token,
            "POST developer.api.intuit.com/v2/oauth2/tokens/revoke": self.revoke,
            "GET accounts.platform.intuit.com/v1/openid_connect/userinfo": self.userinfo,
            f"GET {self.api[1].removeprefix('https://')}": self.company,
        }

    def check_request(self, asked):
        """The scope of the product, and openid's for userinfo."""
        super().check_request(asked)
        assert {"com.intuit.quickbooks.accounting", "openid"} <= set(asked["scope"].split(" "))

    def callback(self, given):
        """The company that the user has chosen comes as a parameter."""
        return {**given, "realmId": "4620816365"}

    def token(self, request):
        """Client and secret are in the header, and the answer is JSON if the client accepts it."""
        self.check_basic(request)
        assert "json" in request.headers["accept"]
        form = form_of(request)
        if form["grant_type"] == "refresh_token":
            self.refreshing()
            if form["refresh_token"] not in self.refresh:
                raise RefusedError(400, BAD_TOKEN)
            return self.tokens()
        asked = self.spent_code(form)
        # The page's id_token has a list as audience, the company, and no nonce.
        claims = {"sub": "1182d6ec-2a1f", "aud": [self.client_id], "realmid": "4620816365"}
        return {**self.tokens(), "id_token": self.id_token({**asked, "nonce": None}, **claims)}

    def tokens(self):
        """Return tokens; "the value of the refresh token changes every 24 hours"."""
        now = self.clock.now()
        if self._made is None or now - self._made >= timedelta(hours=24):
            self._current, self._made = self.new_refresh(kind="AB11"), now
        return {
            "access_token": self.new_access("eyJlbmMi"),
            "token_type": "bearer",
            "expires_in": 3600,
            "refresh_token": self._current,
            "x_refresh_token_expires_in": 8_726_400,
        }

    def userinfo(self, request):
        """OpenID Connect's userinfo."""
        assert self.authorized(bearer(request))
        return {"sub": "1182d6ec-2a1f", "email": "ana@example.com"}

    def company(self, request):
        """An API request."""
        if not self.authorized(bearer(request)):
            raise RefusedError(401, {"fault": {"type": "AUTHENTICATION"}})
        return {"CompanyInfo": {}}

    def revoke(self, request):
        """Either token may be sent, as JSON, with the client's credentials in the header."""
        assert request.basic_auth == (self.client_id, self.client_secret)
        token = json_of(request)["token"]
        if self.refresh.pop(token, self) is self:
            raise RefusedError(400, {"error": "invalid_token"})
        self.revoked.append(token)
        return {}
