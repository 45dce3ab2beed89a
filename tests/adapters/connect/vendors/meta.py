"""Meta, from developers.facebook.com/docs: facebook-login/guides/advanced/manual-flow, facebook-login/guides/
access-tokens/get-long-lived, facebook-login/guides/access-tokens/debugging-and-error-handling, graph-api/guides/
error-handling.
"""

from attrs import evolve
from tests.adapters.connect.vendors.base import RefusedError, Vendor, bearer, dead, form_of, later, misconfigured
from tests.support.scripted_provider import Answer


def error(code, message, subcode=None, **members):
    """Return the body of an error of the Graph API."""
    found = {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "EJplcsCHuLu", **members}
    return {"error": found if subcode is None else {**found, "error_subcode": subcode}}


class Meta(Vendor):
    """No refresh tokens: a token that has not expired is exchanged for a new one; errors are numbers in an object."""

    profiles = ("meta",)
    begin = {"scopes": ["pages_show_list", "ads_read"]}
    lifetime, exchanges = 5_183_944, True
    identifiers = ("10215241773831025",)
    api = ("GET", "https://graph.facebook.com/v25.0/me/accounts")
    elsewhere = "https://graph.facebook.com.evil.example/me"
    revokes = None  # a DELETE of /{user-id}/permissions, which RFC 7009 does not know
    bad_code = (400, error(100, "Invalid verification code format."))
    faults = (
        dead("invalid_grant", 400, error(190, "Error validating access token: Session has expired on Friday.", 463)),
        dead("invalid_grant", 400, error(190, "The session was invalidated since the user changed the password.", 460)),
        dead("invalid_grant", 400, error(190, "The user has not authorized application 1.", 458)),
        dead("invalid_grant", 400, error(102, "API Session")),
        misconfigured("invalid_client", 400, error(101, "Missing client_id parameter.")),
        misconfigured("invalid_client", 400, error(1, "Error validating client secret.")),
        later("temporarily_unavailable", 400, error(2, "Service temporarily unavailable", is_transient=True)),
        later("temporarily_unavailable", 400, error(4, "Application request limit reached", is_transient=True)),
        later("temporarily_unavailable", 400, error(17, "User request limit reached")),
    )

    asked_at = "www.facebook.com/dialog/oauth"

    def consent(self, url):
        """The dialog's address may name a version of the Graph API."""
        return super().consent(_without_version(url))

    def __call__(self, request):
        """A version may stand before each path."""
        version, _, rest = request.target[1:].partition("/")
        return super().__call__(evolve(request, target=f"/{rest}") if version.startswith("v") else request)

    def routes(self):
        """See `Vendor`. Parameters may be sent as a form too, as Meta's own SDKs do, so that no URL has the secret."""
        return {
            "POST graph.facebook.com/oauth/access_token": self.token,
            "GET graph.facebook.com/me": self.me,
            "GET graph.facebook.com/me/accounts": self.accounts,
        }

    def check_request(self, asked):
        """The page allows commas or spaces between scopes."""
        assert {"pages_show_list", "ads_read"} <= set(asked["scope"].replace(",", " ").split())

    def token(self, request):
        """Exchange of a code, and of a token."""
        form = form_of(request)
        self.check_post(form)
        if form.get("grant_type") == "fb_exchange_token":
            self.refreshing()
            if not self.authorized(form["fb_exchange_token"]):
                raise RefusedError(
                    400, error(190, "Error validating access token: Session has expired on Friday.", 463)
                )
        else:
            self.spent_code(form)
        return {"access_token": self.new_access("EAAB"), "token_type": "bearer", "expires_in": 5_183_944}

    def me(self, request):
        """The user's id, which is the app's own."""
        assert self.authorized(bearer(request))
        return {"id": self.identifiers[0], "name": "Ana", "email": "ana@example.com"}

    def accounts(self, request):
        """An API request."""
        if not self.authorized(bearer(request)):
            return Answer(status=400, json=error(190, "Error validating access token", 463))
        return {"data": []}


def _without_version(url):
    head, _, tail = url.partition("://www.facebook.com/")
    version, _, rest = tail.partition("/")
    return f"{head}://www.facebook.com/{rest}" if version.startswith("v") else url
