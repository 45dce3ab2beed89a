"""Atlassian, from developer.atlassian.com: cloud/jira/platform/oauth-2-3lo-apps, cloud/oauth/getting-started/
refresh-tokens.
"""

from tests.adapters.connect.vendors.base import RefusedError, Vendor, bearer, dead, json_of, later, misconfigured


class Atlassian(Vendor):
    """JSON requests; a dead refresh token is answered with 403; the sites are in a list of their own."""

    profiles = ("atlassian",)
    begin = {"scopes": ["read:jira-work"]}
    asked_at = "auth.atlassian.com/authorize"
    identifiers = ("5b10ac8d82e05b22cc7d4ef5",)
    extra = {"cloud_ids": "1324a887-45db-1bf4-1e99-ef0ff456d421"}
    api = ("GET", "https://api.atlassian.com/ex/jira/1324a887-45db-1bf4-1e99-ef0ff456d421/rest/api/2/project")
    elsewhere = "https://your-domain.atlassian.net/rest/api/2/project"
    revokes = None
    bad_code = (403, {"error": "invalid_grant", "error_description": "Invalid authorization code"})
    faults = (
        dead(
            "invalid_grant", 403, {"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."}
        ),
        dead(
            "invalid_grant",
            403,
            {"error": "unauthorized_client", "error_description": "refresh_token is invalid"},
        ),
        misconfigured("unauthorized_client", 401, {"error": "unauthorized_client"}),
        later("temporarily_unavailable", 429, {}, headers={"retry-after": "7"}),
    )

    def routes(self):
        """See `Vendor`."""
        return {
            "POST auth.atlassian.com/oauth/token": self.token,
            "GET api.atlassian.com/me": self.me,
            "GET api.atlassian.com/oauth/token/accessible-resources": self.resources,
            f"GET {self.api[1].removeprefix('https://')}": self.projects,
        }

    def check_request(self, asked):
        """The audience is fixed; offline_access gives a refresh token, read:me the profile."""
        super().check_request(asked)
        assert asked["audience"] == "api.atlassian.com"
        assert asked["prompt"] == "consent"
        assert {"read:jira-work", "offline_access", "read:me"} <= set(asked["scope"].split(" "))

    def token(self, request):
        """Exchange and refresh, with rotating refresh tokens."""
        members = json_of(request)
        self.check_post(members)
        if members["grant_type"] == "refresh_token":
            self.refreshing()
            if self.refresh.pop(members["refresh_token"], self) is self:
                raise RefusedError(
                    403, {"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."}
                )
        else:
            self.spent_code(members)
        return {
            "access_token": self.new_access("eyJhbGci"),
            "refresh_token": self.new_refresh(kind="eyJhbGci-r"),
            "expires_in": 3600,
            "token_type": "Bearer",
            "scope": "read:jira-work offline_access read:me",
        }

    def me(self, request):
        """The User identity API."""
        assert self.authorized(bearer(request))
        return {"account_type": "atlassian", "account_id": self.identifiers[0], "email": "mia@example.com"}

    def resources(self, request):
        """The sites that the token reaches."""
        assert self.authorized(bearer(request))
        site = {"id": self.extra["cloud_ids"], "name": "Site name", "url": "https://your-domain.atlassian.net"}
        return [{**site, "scopes": ["read:jira-work"], "avatarUrl": "https://site-admin-avatar-cdn.example/240.png"}]

    def projects(self, request):
        """An API request through the gateway."""
        if not self.authorized(bearer(request)):
            raise RefusedError(401, {"code": 401, "message": "Unauthorized"})
        return {}
