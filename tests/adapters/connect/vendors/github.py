"""A GitHub App, from docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app:
generating-a-user-access-token, refreshing-user-access-tokens, generating-an-installation-access-token.
"""

import time
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import RSAKey
from tests.adapters.connect.vendors.base import RefusedError, Vendor, bearer, dead, form_of, later, misconfigured
from tests.support.scripted_provider import Answer


def error(code):
    """Return the body of one of GitHub's errors, which come with the status 200."""
    return {"error": code, "error_description": "The refresh token passed is incorrect or expired.", "error_uri": ""}


class GitHub(Vendor):
    """Answers are forms unless JSON is asked for; errors have the status 200; a refresh ends both old tokens."""

    profiles = ("github",)
    client_id = "Iv1.0123456789abcdef"
    lifetime = 28_800
    asked_at = "github.com/login/oauth/authorize"
    identifiers = ("583231",)
    extra = {"installation_id": "42"}
    api = ("GET", "https://api.github.com/user/installations")
    elsewhere = "https://raw.githubusercontent.com/octocat/x/main/README"
    revokes = None  # a DELETE with JSON, which RFC 7009 does not know
    bad_code = (200, error("bad_verification_code"))
    faults = (
        dead("invalid_grant", 200, error("bad_refresh_token")),
        misconfigured("invalid_client", 200, error("incorrect_client_credentials")),
        misconfigured("unsupported_grant_type", 200, error("unsupported_grant_type")),
        later("temporarily_unavailable", 429, {"message": "API rate limit exceeded"}),
        later("temporarily_unavailable", 503, {}),
    )

    def routes(self):
        """See `Vendor`."""
        return {
            "POST github.com/login/oauth/access_token": self.token,
            "GET api.github.com/user": self.user,
            "GET api.github.com/user/installations": self.installations,
        }

    def check_request(self, asked):
        """User tokens of an App have no scopes, only the App's permissions."""
        assert "scope" not in asked

    def callback(self, given):
        """A user who has just installed the App brings the installation."""
        return {**given, "installation_id": "42", "setup_action": "install"}

    def token(self, request):
        """By default, the answer is a form."""
        form = form_of(request)
        self.check_post(form)
        try:
            found = self._token(form)
        except RefusedError as refused:
            if refused.answer.status != 200:
                raise
            found = refused.answer.json
        if "application/json" in request.headers["accept"]:
            return found
        return Answer(body=urlencode(found).encode(), headers={"content-type": "application/x-www-form-urlencoded"})

    def _token(self, form):
        if form.get("grant_type") == "refresh_token":
            self.refreshing()
            if self.refresh.pop(form["refresh_token"], self) is self:
                raise RefusedError(200, error("bad_refresh_token"))
        else:
            self.spent_code(form)
        self.access.clear()  # "that refresh token and the old user access token will no longer work"
        return {
            "access_token": self.new_access("ghu"),
            "expires_in": 28_800,
            "refresh_token": self.new_refresh(kind="ghr"),
            "refresh_token_expires_in": 15_897_600,
            "scope": "",
            "token_type": "bearer",
        }

    def user(self, request):
        """The user's profile."""
        assert self.authorized(bearer(request))
        return {"login": "octocat", "id": 583231}

    def installations(self, request):
        """An API request."""
        if not self.authorized(bearer(request)):
            raise RefusedError(401, {"message": "Bad credentials"})
        return {"total_count": 0}


class Installations(Vendor):
    """The App signs a JWT for each installation token, which ends after an hour and has no refresh token."""

    profiles = ("github-app",)
    client_id = "Iv1.0123456789abcdef"
    api = ("GET", "https://api.github.com/installation/repositories")
    faults = (
        misconfigured("invalid_client", 401, {"message": "A JSON web token could not be decoded"}),
        misconfigured("suspended", 403, {"message": "This installation has been suspended"}),
        misconfigured(
            "invalid_scope", 422, {"message": "The permissions requested are not granted to this installation."}
        ),
        dead("invalid_grant", 404, {"message": "Not Found"}),
        later("temporarily_unavailable", 503, {}),
    )

    def __init__(self, clock):
        super().__init__(clock)
        self.key = RSAKey.generate_key(2048)

    def routes(self):
        """See `Vendor`."""
        return {
            "POST api.github.com/app/installations/42/access_tokens": self.token,
            "GET api.github.com/app": self.app,
            "GET api.github.com/installation/repositories": self.repositories,
        }

    def signed(self, request):
        """Check the JWT: RS256, ``iss`` the App's client id, at most ten minutes, ``iat`` before the present."""
        token = jwt.decode(bearer(request), self.key, algorithms=["RS256"])
        assert token.claims["iss"] == self.client_id
        assert token.claims["iat"] <= time.time() < token.claims["exp"] <= time.time() + 600

    def token(self, request):
        """The answer has the status 201, and states when the token ends, as a text."""
        self.signed(request)
        self.refreshing()
        token = self.new_access("ghs")
        found = {"token": token, "expires_at": self.access[token].strftime("%Y-%m-%dT%H:%M:%SZ")}
        return Answer(status=201, json={**found, "permissions": {"issues": "write"}, "repository_selection": "all"})

    def app(self, request):
        """The App itself, which is there although an installation may not be."""
        self.signed(request)
        return {"id": 1, "slug": "octoapp"}

    def repositories(self, request):
        """An API request."""
        if not self.authorized(bearer(request)):
            raise RefusedError(401, {"message": "Bad credentials"})
        return {"total_count": 0}
