"""Docusign, from developers.docusign.com/platform/auth: confidential-authcode-get-token, reference/obtain-access-token,
reference/user-info.
"""

from tests.adapters.connect.vendors.base import RefusedError, Vendor, bearer, dead, form_of, later, misconfigured


class Docusign(Vendor):
    """Basic authentication; ``expires_in`` as a text; the API's host is the default account's ``base_uri``."""

    profiles = ("docusign",)
    begin = {"scopes": ["signature"]}
    client_id, client_secret = "7c2b8d7e-0001", "d7014634-secret"
    lifetime = 28_800
    asked_at = "account.docusign.com/oauth/auth"
    identifiers = ("4799e5e9-0001",)
    extra = {"base_uri": "https://na3.docusign.net", "account_id": "a4ec37d6-0002"}
    api = ("GET", "https://na3.docusign.net/restapi/v2.1/accounts/a4ec37d6-0002/envelopes")
    elsewhere = "https://docusign.net.evil.example/restapi"
    revokes = None
    bad_code = (400, {"error": "invalid_grant", "error_description": "expired_client_token"})
    faults = (
        dead("invalid_grant", 400, {"error": "invalid_grant", "error_description": "expired_client_token"}),
        dead("consent_required", 400, {"error": "consent_required"}),
        misconfigured("invalid_client", 401, {"error": "invalid_client"}),
        later("temporarily_unavailable", 503, {}),
    )

    def routes(self):
        """See `Vendor`."""
        return {
            "POST account.docusign.com/oauth/token": self.token,
            "GET account.docusign.com/oauth/userinfo": self.userinfo,
            f"GET {self.api[1].removeprefix('https://')}": self.envelopes,
        }

    def check_request(self, asked):
        """Scopes are separated by spaces."""
        super().check_request(asked)
        assert "signature" in asked["scope"].split(" ")

    def token(self, request):
        """Exchange and refresh; each refresh gives a new refresh token, good for 30 days."""
        self.check_basic(request)
        form = form_of(request)
        if form["grant_type"] == "refresh_token":
            self.refreshing()
            if self.refresh.pop(form["refresh_token"], self) is self:
                raise RefusedError(400, {"error": "invalid_grant", "error_description": "expired_client_token"})
        else:
            self.spent_code(form)
        return {
            "access_token": self.new_access("eyJ0eXAi"),
            "token_type": "Bearer",
            "refresh_token": self.new_refresh(kind="eyJ0eXAi-r"),
            "expires_in": "28800",
        }

    def userinfo(self, request):
        """A user may have several accounts, of which one is the default."""
        assert self.authorized(bearer(request))
        accounts = [
            {"account_id": "b0000000-0001", "is_default": False, "base_uri": "https://eu.docusign.net"},
            {"account_id": "a4ec37d6-0002", "is_default": True, "base_uri": "https://na3.docusign.net"},
        ]
        return {"sub": "4799e5e9-0001", "name": "First Last", "email": "first.last@example.com", "accounts": accounts}

    def envelopes(self, request):
        """An API request."""
        if not self.authorized(bearer(request)):
            raise RefusedError(401, {"errorCode": "USER_AUTHENTICATION_FAILED"})
        return {}
