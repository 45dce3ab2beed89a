"""Zoho, from zoho.com/accounts/protocol/oauth: web-apps/authorization, web-apps/access-token, revoke-refresh-token,
multi-dc; zoho.com/crm/developer/docs/api (refresh, token validity); the community's "Kaizen #4" (errors).
"""

from tests.adapters.connect.vendors.base import RefusedError, Vendor, bearer, dead, form_of, later, misconfigured


class Zoho(Vendor):
    """The callback's accounts-server has the code; errors come with the status 200; scopes are separated by commas."""

    profiles = ("zoho",)
    begin = {"scopes": ["ZohoCRM.modules.ALL"]}
    client_id, client_secret = "1000.GMB0YULZ", "122c324d-secret"
    asked_at = "accounts.zoho.com/oauth/v2/auth"
    identifiers = ("accounts.zoho.eu:20072",)
    extra = {"accounts": "accounts.zoho.eu", "api_domain": "https://www.zohoapis.eu"}
    api = ("GET", "https://www.zohoapis.eu/crm/v8/Leads")
    elsewhere = "https://www.zohoapis.eu.evil.example/crm/v8/Leads"
    bad_code = (200, {"error": "invalid_code"})
    faults = (
        dead("invalid_grant", 200, {"error": "invalid_code"}),
        misconfigured("invalid_client", 200, {"error": "invalid_client"}),
        misconfigured("invalid_client", 200, {"error": "invalid_client_secret"}),
        later(
            "temporarily_unavailable",
            400,
            {
                "error_description": "You have made too many requests continuously. Please try again after some time.",
                "error": "Access Denied",
                "status": "failure",
            },
        ),
    )

    def routes(self):
        """See `Vendor`."""
        return {
            "POST accounts.zoho.eu/oauth/v2/token": self.token,
            "POST accounts.zoho.eu/oauth/v2/token/revoke": self.revoke,
            "GET accounts.zoho.eu/oauth/user/info": self.user,
            "GET www.zohoapis.eu/crm/v8/Leads": self.leads,
        }

    def check_request(self, asked):
        """access_type=offline and prompt=consent give a refresh token at each consent."""
        super().check_request(asked)
        assert {"ZohoCRM.modules.ALL", "AaaServer.profile.READ"} <= set(asked["scope"].split(","))
        assert (asked["access_type"], asked["prompt"]) == ("offline", "consent")

    def callback(self, given):
        """The user's data centre, whose server alone knows the code."""
        return {**given, "location": "eu", "accounts-server": "https://accounts.zoho.eu"}

    def token(self, request):
        """The parameters are in the body or in the query."""
        form = {**request.query, **form_of(request)}
        self.check_post(form)
        tokens = {"api_domain": "https://www.zohoapis.eu", "token_type": "Bearer", "expires_in": 3600}
        if form["grant_type"] == "refresh_token":
            self.refreshing()
            if form["refresh_token"] not in self.refresh:
                raise RefusedError(200, {"error": "invalid_code"})
            return {"access_token": self.new_access("1000.a"), **tokens}
        self.spent_code(form)
        return {"access_token": self.new_access("1000.a"), "refresh_token": self.new_refresh(kind="1000.r"), **tokens}

    @staticmethod
    def given(request):
        """Return the token of an API request; the pages show both schemes."""
        scheme, _, token = request.headers["authorization"].partition(" ")
        assert scheme in ("Bearer", "Zoho-oauthtoken")
        return token

    def user(self, request):
        """The profile of the user."""
        assert self.authorized(bearer(request))
        return {"First_Name": "Ana", "Email": "ana@example.com", "Last_Name": "A", "Display_Name": "Ana", "ZUID": 20072}

    def leads(self, request):
        """An API request."""
        if not self.authorized(self.given(request)):
            raise RefusedError(401, {"code": "INVALID_TOKEN", "status": "error"})
        return {"data": []}

    def revoke(self, request):
        """The token is a parameter; the page shows no client authentication."""
        token = request.query.get("token") or form_of(request)["token"]
        if self.refresh.pop(token, self) is self:
            raise RefusedError(400, {"error": "invalid_token"})
        self.revoked.append(token)
        return {"status": "success"}
