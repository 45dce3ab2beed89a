"""What the vendors' stubs share: codes, tokens that expire by the test's clock, and PKCE.

Each stub beside this file was written from its vendor's pages alone, which its docstring lists, and not from our
profile. So a fact that the profile has wrong shows as a failed walk (`test_connect_vendors`).
"""

import base64
import hashlib
import json
from datetime import timedelta
from functools import partial
from urllib.parse import parse_qsl, urlencode, urlsplit

from attrs import frozen
from tests.support.scripted_provider import Answer

from vault_adapters import ProviderConfigurationError, ReauthorizationRequiredError, RefreshFailedError
from vault_adapters.testing.openid import LoopbackOpenIdProvider


@frozen
class Fault:
    """An error answer of a token endpoint, and what a refresh must make of it."""

    answer: Answer
    error: type
    reason: str
    unknown: bool = False


def fault(error, reason, status, body, *, unknown=False, headers=None):
    """Return a fault whose answer has this status and this JSON body."""
    return Fault(Answer(status=status, json=body, headers=headers or {}), error, reason, unknown)


dead = partial(fault, ReauthorizationRequiredError)
misconfigured = partial(fault, ProviderConfigurationError)
later = partial(fault, RefreshFailedError)


class RefusedError(Exception):
    """Ends a request with an answer."""

    def __init__(self, status, body):
        super().__init__(status)
        self.answer = Answer(status=status, json=body)


class Vendor:
    """A vendor's authorization server and API; a subclass says in `routes` what each place answers.

    Attributes:
        profiles: the profiles that the walk connects; the first one's account is asked for.
        options: variables of the profile.
        begin: arguments of `Connector.begin`.
        lifetime: seconds for which access tokens work.
        identifiers: of the accounts that a consent makes.
        extra: what is kept with the first account's access token.
        api: method and URL of an API request.
        elsewhere: a URL that must get no token.
        revokes: whether the vendor confirms a revocation; None: its pages state no endpoint.
        exchanges: whether a refresh exchanges the access token, which must not have expired.
        faults: what the token endpoint may answer to a refresh.
        bad_code: its answer to a code that it does not know.
    """

    profiles = ()
    options = {}
    begin = {}
    client_id, client_secret = "client-1", "secret-1"
    lifetime = 3600
    extra = {}
    elsewhere = "https://api.example.com/"
    revokes = True
    exchanges = False
    faults = ()
    bad_code = (400, {"error": "invalid_grant"})

    def __init__(self, clock):
        self.clock, self.refreshed, self.revoked, self.requests = clock, 0, [], []
        self.codes, self.access, self.refresh = {}, {}, {}
        self._numbers, self._faults = iter(range(1, 1000)), []

    def __call__(self, request):
        self.requests.append(request)
        place = f"{request.method} {request.headers['x-for']}{request.path}"
        found = self.routes().get(place)
        if found is None:
            raise AssertionError(f"the vendor's pages do not mention {place}")
        try:
            answer = found(request)
        except RefusedError as refused:
            return refused.answer
        return answer if isinstance(answer, Answer) else Answer(json=answer)

    def fail_next(self, answer):
        """Answer the next refresh with an error."""
        self._faults.append(answer)

    def consent(self, url):
        """Agree as a user, and return the query of the callback."""
        place, parameters = urlsplit(url), parse_qsl(urlsplit(url).query)
        asked = dict(parameters)
        assert len(asked) == len(parameters)
        assert asked["client_id"] == self.client_id
        assert self.asked_at == f"{place.netloc}{place.path}"
        self.check_request(asked)
        code = f"code-{next(self._numbers)}"
        self.codes[code] = asked
        return urlencode(self.callback({"code": code, "state": asked["state"]}))

    def check_request(self, asked):
        """Check the parameters of the authorization request."""
        assert asked["response_type"] == "code"

    def callback(self, given):
        """Return the parameters of the callback."""
        return given

    def spent_code(self, form):
        """Return the authorization request of a code, which works once; check PKCE (RFC 7636)."""
        asked = self.codes.pop(form.get("code"), None)
        if asked is None:
            raise RefusedError(*self.bad_code)
        assert form["redirect_uri"] == asked["redirect_uri"]
        if "code_challenge" in asked:
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == asked["code_challenge"]
        return asked

    def new_access(self, kind="access"):
        """Return a new access token that works for `lifetime`."""
        token = f"{kind}-{next(self._numbers)}"
        self.access[token] = self.clock.now() + timedelta(seconds=self.lifetime)
        return token

    def new_refresh(self, about=None, kind="refresh"):
        """Return a new refresh token; ``about`` is found in `refresh` under it."""
        token = f"{kind}-{next(self._numbers)}"
        self.refresh[token] = about
        return token

    def refreshing(self):
        """Count a refresh, or end it with the fault that comes next."""
        if self._faults:
            raise self._refusal(self._faults.pop(0))
        self.refreshed += 1

    def authorized(self, token):
        """Return whether an access token works."""
        return token in self.access and self.clock.now() < self.access[token]

    @staticmethod
    def _refusal(answer):
        refused = RefusedError(answer.status, None)
        refused.answer = answer
        return refused

    # How a client may authenticate.

    def check_post(self, members):
        """Check client id and secret among a body's members."""
        assert (members["client_id"], members["client_secret"]) == (self.client_id, self.client_secret)

    def check_basic(self, request):
        """Check client id and secret in the header, which is then the only place that has them."""
        assert request.basic_auth == (self.client_id, self.client_secret)
        assert b"secret" not in request.body


def bearer(request, scheme="Bearer"):
    """Return the token in the Authorization header."""
    found, _, token = request.headers["authorization"].partition(" ")
    assert found == scheme
    return token


def json_of(request):
    """Return the members of a JSON body."""
    assert request.headers["content-type"].partition(";")[0] == "application/json"
    return json.loads(request.body)


def form_of(request):
    """Return the members of a form."""
    assert request.headers["content-type"].partition(";")[0] == "application/x-www-form-urlencoded"
    return request.form


class OpenIdVendor(Vendor):
    """A vendor that gives an id_token; ``issuer`` is its issuer, ``keys_at`` the path of its keys."""

    issuer = keys_at = ""

    def __init__(self, clock):
        super().__init__(clock)
        self._signer = LoopbackOpenIdProvider(self.issuer, client_secret="unused")

    def openid_routes(self):
        """Return the routes of discovery and keys."""
        host = self.issuer.removeprefix("https://")
        document = {"issuer": self.issuer, "jwks_uri": f"https://{self.keys_at}"}
        return {
            f"GET {host}/.well-known/openid-configuration": lambda _: document,
            f"GET {self.keys_at}": lambda _: self._signer.keys(),
        }

    def id_token(self, asked, **claims):
        """Return an id_token for an authorization request that asked for one; else None."""
        if "openid" not in asked["scope"].split():
            return None
        times = {"iat": 1_700_000_000, "exp": 4_102_444_800}
        nonce = {"nonce": asked["nonce"]} if "nonce" in asked else {}
        return self._signer.signed({"iss": self.issuer, "aud": self.client_id, **times, **nonce, **claims})
