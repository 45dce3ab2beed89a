"""Google, from developers.google.com/identity/protocols: oauth2, oauth2/web-server, openid-connect."""

from tests.adapters.connect.vendors.base import OpenIdVendor, RefusedError, bearer, dead, form_of, later, misconfigured


class Google(OpenIdVendor):
    """A refresh token is given once, for access_type=offline and prompt=consent, and is never replaced."""

    profiles = ("google",)
    begin = {"scopes": ["https://www.googleapis.com/auth/calendar.readonly"]}
    client_id, client_secret = "1234-abc.apps.googleusercontent.com", "GOCSPX-secret"
    asked_at = "accounts.google.com/o/oauth2/v2/auth"
    issuer, keys_at = "https://accounts.google.com", "www.googleapis.com/oauth2/v3/certs"
    identifiers = ("10769150350006150715113082367",)
    api = ("GET", "https://www.googleapis.com/calendar/v3/users/me/calendarList")
    elsewhere = "https://googleapis.example.com/"
    faults = (
        dead(
            "invalid_grant",
            400,
            {"error": "invalid_grant", "error_description": "Token has been expired or revoked."},
        ),
        dead(
            "interaction_required",
            400,
            {
                "error": "invalid_grant",
                "error_description": "reauth related error (invalid_rapt)",
                "error_uri": "https://support.google.com/a/answer/9368756",
                "error_subtype": "invalid_rapt",
            },
        ),
        misconfigured("invalid_client", 401, {"error": "invalid_client", "error_description": "Unauthorized"}),
        misconfigured(
            "invalid_client",
            401,
            {"error": "deleted_client", "error_description": "The OAuth client was deleted."},
        ),
        dead("interaction_required", 400, {"error": "admin_policy_enforced"}),
        misconfigured("unauthorized_client", 401, {"error": "unauthorized_client"}),
        later("temporarily_unavailable", 503, {"error": "internal_failure"}),
        later("server_error", 500, {"error": "internal_failure"}, unknown=True),
    )

    def routes(self):
        """See `Vendor`."""
        return {
            **self.openid_routes(),
            "POST oauth2.googleapis.com/token": self.token,
            "POST oauth2.googleapis.com/revoke": self.revoke,
            "GET openidconnect.googleapis.com/v1/userinfo": self.userinfo,
            "GET www.googleapis.com/calendar/v3/users/me/calendarList": self.calendars,
        }

    def check_request(self, asked):
        """Without access_type=offline there is no refresh token; without prompt=consent, only at the first consent."""
        super().check_request(asked)
        assert asked["access_type"] == "offline"
        assert "consent" in asked["prompt"].split()

    def token(self, request):
        """Exchange and refresh; an answer to a refresh has no refresh token."""
        form = form_of(request)
        self.check_post(form)
        tokens = {"access_token": self.new_access("ya29.a0"), "expires_in": 3599, "token_type": "Bearer"}
        if form["grant_type"] == "refresh_token":
            self.refreshing()
            if form["refresh_token"] not in self.refresh:
                raise RefusedError(400, {"error": "invalid_grant", "error_description": "Bad Request"})
            return {**tokens, "scope": self.refresh[form["refresh_token"]]["scope"]}
        asked = self.spent_code(form)
        claims = {"sub": self.identifiers[0], "email": "ana@example.com", "azp": self.client_id}
        found = {"id_token": self.id_token(asked, **claims), "refresh_token": self.new_refresh(asked, "1//")}
        return {**tokens, **{name: value for name, value in found.items() if value}, "scope": asked["scope"]}

    def userinfo(self, request):
        """OpenID Connect's userinfo."""
        assert self.authorized(bearer(request))
        return {"sub": self.identifiers[0], "email": "ana@example.com", "name": "Ana"}

    def calendars(self, request):
        """An API request."""
        if not self.authorized(bearer(request)):
            raise RefusedError(401, {"error": {"code": 401, "status": "UNAUTHENTICATED"}})
        return {"items": []}

    def revoke(self, request):
        """The token may be an access token or a refresh token; 400 if it is neither."""
        token = form_of(request)["token"]
        if self.refresh.pop(token, None) is None:
            raise RefusedError(400, {"error": "invalid_token", "error_description": "Token expired or revoked"})
        self.revoked.append(token)
        return {}
