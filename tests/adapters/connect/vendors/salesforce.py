"""Salesforce, from help.salesforce.com (remoteaccess_oauth_web_server_flow, remoteaccess_oauth_flow_errors) and
developer.salesforce.com (api_rest: intro_understanding_refresh_token_oauth; mobile_sdk: oauth_revoking_tokens).
"""

from tests.adapters.connect.vendors.base import RefusedError, Vendor, bearer, dead, form_of, later, misconfigured

ME = "https://acme.my.salesforce.com"


def grant(description):
    """Return the body of an invalid_grant with a description."""
    return {"error": "invalid_grant", "error_description": description}


class Salesforce(Vendor):
    """Answers state no lifetime; the API is at the answer's own ``instance_url``; refreshes keep the refresh token."""

    profiles = ("salesforce",)
    begin = {"scopes": ["api", "refresh_token"]}
    lifetime = 7200  # the org's session timeout, two hours unless an admin changes it
    asked_at = "login.salesforce.com/services/oauth2/authorize"
    identifiers = ("https://login.salesforce.com/id/00Dx0000000BV7z/005x00000012Q9P",)
    extra = {
        "instance_url": ME,
        "id": "https://login.salesforce.com/id/00Dx0000000BV7z/005x00000012Q9P",
    }
    api = ("GET", f"{ME}/services/data/v65.0/")
    elsewhere = "https://evil.my.salesforce.com/services/data/v65.0/"
    bad_code = (400, {"error": "invalid_grant", "error_description": "invalid authorization code"})
    faults = (
        dead("invalid_grant", 400, grant("expired access/refresh token")),
        dead("invalid_grant", 400, grant("inactive user")),
        dead("interaction_required", 400, {"error": "inactive_user", "error_description": "user is inactive"}),
        dead("interaction_required", 400, {"error": "inactive_org", "error_description": "organization is locked"}),
        misconfigured("invalid_client", 400, {"error": "invalid_client_id"}),
        misconfigured("invalid_client", 400, {"error": "invalid_client"}),
        misconfigured("login_restricted", 400, grant("ip restricted")),
        misconfigured("login_restricted", 400, grant("invalid login hours")),
        later("temporarily_unavailable", 400, grant("rate limit exceeded")),
        later("temporarily_unavailable", 400, {"error": "rate_limit_exceeded", "error_description": "too many logins"}),
        later("temporarily_unavailable", 503, {"error": "server_error"}),
    )

    def routes(self):
        """See `Vendor`."""
        login = "login.salesforce.com/services/oauth2"
        return {
            f"POST {login}/token": self.token,
            f"GET {login}/userinfo": self.userinfo,
            f"POST {login}/revoke": self.revoke,
            "GET acme.my.salesforce.com/services/data/v65.0/": self.data,
        }

    def check_request(self, asked):
        """Scopes are separated by spaces."""
        super().check_request(asked)
        assert {"api", "refresh_token"} <= set(asked["scope"].split(" "))

    def token(self, request):
        """The web server flow and the refresh token flow."""
        form = form_of(request)
        if request.basic_auth is not None:
            self.check_basic(request)
        else:
            self.check_post(form)
        if form["grant_type"] == "refresh_token":
            self.refreshing()
            if form["refresh_token"] not in self.refresh:
                raise RefusedError(400, grant("expired access/refresh token"))
            return self.tokens()
        asked = self.spent_code(form)
        return {**self.tokens(), "refresh_token": self.new_refresh(), "scope": asked["scope"]}

    def tokens(self):
        """Return what both flows answer; ``issued_at`` is a text of milliseconds."""
        return {
            "access_token": self.new_access("00Dx0000000BV7z!AR8AQ"),
            "instance_url": ME,
            "id": "https://login.salesforce.com/id/00Dx0000000BV7z/005x00000012Q9P",
            "token_type": "Bearer",
            "issued_at": "1278448384422",
            "signature": "SSSbLO/gBhmmyNUvN18ODBDFYHzakxOMgqYtu+hDPsc=",
        }

    def userinfo(self, request):
        """The user information endpoint."""
        assert self.authorized(bearer(request))
        return {
            "sub": "https://login.salesforce.com/id/00Dx0000000BV7z/005x00000012Q9P",
            "user_id": "005x00000012Q9P",
            "organization_id": "00Dx0000000BV7z",
            "preferred_username": "ana@example.com",
        }

    def data(self, request):
        """An API request; without a lifetime, only the answer 401 says that the session has ended."""
        if self.authorized(bearer(request)):
            return {}
        return self._expired

    @property
    def _expired(self):
        raise RefusedError(401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])

    def revoke(self, request):
        """A refresh token ends with its access tokens: 200 and no body."""
        token = form_of(request)["token"]
        if self.refresh.pop(token, self) is self:
            raise RefusedError(400, {"error": "invalid_token"})
        self.revoked.append(token)
        return {}
