"""Slack, from docs.slack.dev: installing-with-oauth, using-token-rotation, methods oauth.v2.access and auth.revoke."""

from tests.adapters.connect.vendors.base import RefusedError, Vendor, bearer, dead, form_of, later, misconfigured


class Slack(Vendor):
    """Errors come with the status 200 and ``ok: false``; scopes are separated by commas; bot and user in one answer."""

    profiles = ("slack", "slack-user")
    begin = {"scopes": ["chat:write", "channels:read"], "extra": {"user_scope": "search:read"}}
    lifetime = 43_200
    asked_at = "slack.com/oauth/v2/authorize"
    identifiers = ("T9TK3CUKW", "T9TK3CUKW:U1234")
    extra = {"team_id": "T9TK3CUKW"}
    api = ("POST", "https://slack.com/api/auth.test")
    elsewhere = "https://slack.com.evil.example/api/auth.test"
    revokes = None  # auth.revoke takes the access token, which its answer ends, and not the grant
    bad_code = (200, {"ok": False, "error": "invalid_code"})
    faults = (
        dead("invalid_grant", 200, {"ok": False, "error": "invalid_refresh_token"}),
        dead("invalid_grant", 200, {"ok": False, "error": "token_revoked"}),
        misconfigured("invalid_client", 200, {"ok": False, "error": "bad_client_secret"}),
        misconfigured("invalid_client", 200, {"ok": False, "error": "invalid_client_id"}),
        # "It's possible some aspect of the operation succeeded before the error was raised."
        later("server_error", 200, {"ok": False, "error": "internal_error"}, unknown=True),
        later("server_error", 200, {"ok": False, "error": "fatal_error"}, unknown=True),
        later("temporarily_unavailable", 429, {"ok": False, "error": "ratelimited"}, headers={"retry-after": "30"}),
    )

    def routes(self):
        """See `Vendor`."""
        return {
            "POST slack.com/api/oauth.v2.access": self.token,
            "POST slack.com/api/auth.test": self.test,
            "POST slack.com/api/auth.revoke": self.revoke,
        }

    def check_request(self, asked):
        """The page shows no response_type; both lists of scopes are comma-separated."""
        assert set(asked["scope"].split(",")) == {"chat:write", "channels:read"}
        assert asked["user_scope"] == "search:read"

    def token(self, request):
        """oauth.v2.access: the credentials may be in the header or among the parameters."""
        form = form_of(request)
        if request.basic_auth is not None:
            self.check_basic(request)
        else:
            self.check_post(form)
        if form.get("grant_type") == "refresh_token":
            self.refreshing()
            kind = self.refresh.pop(form["refresh_token"], None)  # "The refresh token is then revoked"
            if kind is None:
                raise RefusedError(200, {"ok": False, "error": "invalid_refresh_token"})
            return {**self.installation, **self.tokens(kind)}
        self.spent_code(form)
        return {**self.installation, **self.tokens("bot"), "authed_user": {"id": "U1234", **self.tokens("user")}}

    installation = {
        "ok": True,
        "app_id": "A0KRD7HC3",
        "bot_user_id": "U0KRQLJ9H",
        "team": {"name": "Slack Softball Team", "id": "T9TK3CUKW"},
        "enterprise": None,
        "is_enterprise_install": False,
    }

    def tokens(self, kind):
        """Return the members of a bot's or a user's tokens; a refresh of either gives them at the top."""
        return {
            "access_token": self.new_access("xoxe.xoxb-1" if kind == "bot" else "xoxe.xoxp-1"),
            "expires_in": 43_200,
            "refresh_token": self.new_refresh(kind, "xoxe-1"),
            "scope": "chat:write,channels:read" if kind == "bot" else "search:read",
            "token_type": kind,
        }

    def test(self, request):
        """auth.test"""
        return {"ok": True} if self.authorized(bearer(request)) else {"ok": False, "error": "token_expired"}

    def revoke(self, request):
        """auth.revoke: the token is an HTTP header "or alternatively, a POST parameter"."""
        token = request.form.get("token") or bearer(request)
        if self.access.pop(token, None) is None:
            return {"ok": False, "error": "invalid_auth"}
        self.revoked.append(token)
        return {"ok": True, "revoked": True}
