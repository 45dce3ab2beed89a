"""Instagram Login, from developers.facebook.com/documentation/instagram-platform: instagram-api-with-instagram-login/
business-login, reference/access_token, reference/refresh_access_token.
"""

from datetime import timedelta

from tests.adapters.connect.vendors.base import RefusedError, Vendor, bearer, dead, form_of, later, misconfigured
from tests.adapters.connect.vendors.meta import error


class Instagram(Vendor):
    """A token of an hour is exchanged for one of 60 days, by a GET; this one for a new one, by a GET elsewhere."""

    profiles = ("instagram",)
    begin = {"scopes": ["instagram_business_content_publish"]}
    client_id, client_secret = "990602627938098", "a1b2C3D4"
    lifetime, exchanges = 5_183_944, True
    asked_at = "www.instagram.com/oauth/authorize"
    identifiers = ("1020",)
    api = ("GET", "https://graph.instagram.com/v25.0/me")
    elsewhere = "https://www.instagram.com/"
    revokes = None
    bad_code = (
        400,
        {
            "error_type": "OAuthException",
            "code": 400,
            "error_message": "Matching code was not found or was already used",
        },
    )
    faults = (
        dead("invalid_grant", 400, error(190, "Error validating access token: Session has expired on Friday.", 463)),
        misconfigured("invalid_client", 400, error(101, "Error validating application.")),
        later("temporarily_unavailable", 400, error(2, "Service temporarily unavailable", is_transient=True)),
        later("temporarily_unavailable", 400, error(4, "Application request limit reached")),
    )

    def __init__(self, clock):
        super().__init__(clock)
        self.short, self.made = set(), {}

    def routes(self):
        """See `Vendor`."""
        return {
            "POST api.instagram.com/oauth/access_token": self.token,
            "GET graph.instagram.com/access_token": self.longer,
            "GET graph.instagram.com/refresh_access_token": self.renewed,
            "GET graph.instagram.com/v25.0/me": self.me,
        }

    def check_request(self, asked):
        """Scopes are separated by commas, and the basic one is required."""
        super().check_request(asked)
        assert {"instagram_business_basic", "instagram_business_content_publish"} == set(asked["scope"].split(","))

    def token(self, request):
        """The answer to a code: a token of an hour, without its lifetime."""
        form = form_of(request)
        self.check_post(form)
        assert form["grant_type"] == "authorization_code"
        self.spent_code(form)
        token = f"short-{next(self._numbers)}"
        self.short.add(token)
        return {"data": [{"access_token": token, "user_id": "1020", "permissions": "instagram_business_basic"}]}

    def longer(self, request):
        """ig_exchange_token: "should only be made in server-side code", because it holds the secret."""
        query = request.query
        assert (query["grant_type"], query["client_secret"]) == ("ig_exchange_token", self.client_secret)
        if query["access_token"] not in self.short:
            raise RefusedError(400, error(190, "Error validating access token", 463))
        self.short.remove(query["access_token"])
        return self.given()

    def renewed(self, request):
        """ig_refresh_token: the token must be a day old, and must not have expired."""
        query = request.query
        assert set(query) == {"grant_type", "access_token"}
        assert query["grant_type"] == "ig_refresh_token"
        self.refreshing()
        assert self.clock.now() - self.made[query["access_token"]] >= timedelta(hours=24)
        if not self.authorized(query["access_token"]):
            raise RefusedError(400, error(190, "Error validating access token: Session has expired on Friday.", 463))
        return self.given()

    def given(self):
        """Return a token of 60 days."""
        token = self.new_access("IGAA")
        self.made[token] = self.clock.now()
        return {"access_token": token, "token_type": "bearer", "expires_in": 5_183_944}

    def me(self, request):
        """An API request."""
        if not self.authorized(bearer(request)):
            raise RefusedError(400, error(190, "Error validating access token", 463))
        return {"user_id": "1020", "username": "ana"}
