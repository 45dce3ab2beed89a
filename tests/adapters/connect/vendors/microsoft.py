"""Microsoft, from learn.microsoft.com/entra/identity-platform: v2-oauth2-auth-code-flow, id-tokens, userinfo,
reference-error-codes, claims-challenge.
"""

from tests.adapters.connect.vendors.base import OpenIdVendor, RefusedError, bearer, dead, form_of, later, misconfigured
from tests.support.scripted_provider import Answer

from vault_adapters import ConsentRequiredError

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"


def body(error, code, text, **members):
    """Return an error as the page about errors shows it."""
    return {
        "error": error,
        "error_description": f"AADSTS{code}: {text}\r\nTrace ID: 0000aaaa-11bb-cccc-dd22-eeeeee333333\r\n",
        "error_codes": [code],
        "timestamp": "2016-01-09 02:02:12Z",
        "trace_id": "0000aaaa-11bb-cccc-dd22-eeeeee333333",
        "correlation_id": "aaaa0000-bb11-2222-33cc-444444dddddd",
        **members,
    }


class Microsoft(OpenIdVendor):
    """The issuer of ``common`` has a placeholder; a used refresh token is not revoked, but replaced each time."""

    profiles = ("microsoft",)
    begin = {"scopes": ["https://graph.microsoft.com/Mail.Read"]}
    asked_at = "login.microsoftonline.com/common/oauth2/v2.0/authorize"
    issuer = f"https://login.microsoftonline.com/{TENANT}/v2.0"
    identifiers = ("AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",)
    api = ("GET", "https://graph.microsoft.com/v1.0/me/messages")
    elsewhere = "https://graph.microsoft.com.evil.example/v1.0/me"
    revokes = None
    faults = (
        dead("invalid_grant", 400, body("invalid_grant", 700082, "The refresh token has expired due to inactivity.")),
        dead(
            "invalid_grant", 400, body("invalid_grant", 50173, "The provided grant has expired due to it being revoked")
        ),
        misconfigured(
            "invalid_scope", 400, body("invalid_scope", 70011, "The provided value for 'scope' is not valid.")
        ),
        misconfigured("invalid_client", 401, body("invalid_client", 7000215, "Invalid client secret is provided.")),
        misconfigured("unauthorized_client", 400, body("unauthorized_client", 700016, "Application was not found")),
        later("temporarily_unavailable", 400, body("server_error", 90055, "TenantThrottlingError")),
        later(
            "temporarily_unavailable", 400, body("temporarily_unavailable", 90033, "A transient error has occurred.")
        ),
        later(
            "server_error", 400, body("server_error", 50000, "There's an issue with the sign-in service."), unknown=True
        ),
    )
    stepped_up = Answer(
        status=400,
        json=body(
            "interaction_required",
            50076,
            "You must use multi-factor authentication.",
            suberror="basic_action",
            claims='{"access_token":{"polids":{"essential":true,"values":["9ab03e19"]}}}',
        ),
    )
    asks_for_user = ConsentRequiredError

    def routes(self):
        """See `Vendor`."""
        login = "login.microsoftonline.com"
        documents = {
            "issuer": f"https://{login}/{{tenantid}}/v2.0",
            "jwks_uri": f"https://{login}/common/discovery/v2.0/keys",
        }
        return {
            f"POST {login}/common/oauth2/v2.0/token": self.token,
            f"GET {login}/common/v2.0/.well-known/openid-configuration": lambda _: documents,
            f"GET {login}/common/discovery/v2.0/keys": lambda _: self._signer.keys(),
            "GET graph.microsoft.com/oidc/userinfo": self.userinfo,
            "GET graph.microsoft.com/v1.0/me/messages": self.messages,
        }

    def check_request(self, asked):
        """Scopes are separated by spaces; without offline_access there is no refresh token."""
        super().check_request(asked)
        assert {"offline_access", "https://graph.microsoft.com/Mail.Read"} <= set(asked["scope"].split(" "))

    def token(self, request):
        """The client's secret is a parameter; a refresh may name the scopes of one resource."""
        form = form_of(request)
        self.check_post(form)
        if form["grant_type"] == "refresh_token":
            self.refreshing()
            asked = self.refresh.get(form["refresh_token"])
            if asked is None:
                raise RefusedError(400, body("invalid_grant", 9002313, "Invalid request."))
        else:
            asked = self.spent_code(form)
        resource = "https://graph.microsoft.com/Mail.Read openid profile email"
        claims = {"sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "tid": TENANT}
        oid = {"oid": "00000000-0000-0000-66f3-3332eca7ea81", "preferred_username": "ana@example.com", "ver": "2.0"}
        answer = {
            "access_token": self.new_access("eyJ0eXAi"),
            "token_type": "Bearer",
            "expires_in": 3599,
            "ext_expires_in": 3599,
            "scope": resource,
            "refresh_token": self.new_refresh(asked, "AwABAAAA"),
            "id_token": self.id_token(asked, **claims, **oid),
        }
        return {name: value for name, value in answer.items() if value is not None}

    def userinfo(self, request):
        """``sub`` is the one that the client sees, pairwise."""
        assert self.authorized(bearer(request))
        return {"sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "email": "ana@example.com"}

    def messages(self, request):
        """An API request."""
        if not self.authorized(bearer(request)):
            raise RefusedError(401, {"error": {"code": "InvalidAuthenticationToken"}})
        return {"value": []}
