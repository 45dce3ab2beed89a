"""An MCP server with its authorization server on loopback; it uses each refresh token once, and counts lost grants."""

import hashlib
import itertools
import json
import threading
import time
from base64 import urlsafe_b64encode
from contextlib import contextmanager
from urllib.parse import urlencode

from tests.support.answers import Answer, error_answer, redirect_answer
from tests.support.scripted_provider import scripted_provider

PATH = "/mcp"


class McpStub:
    """Both servers, at one origin. ``changes`` replace members of the documents, by path."""

    def __init__(self, scopes=("tools:read",), lifetime=3600, accepts=lambda token: True):
        self.scopes, self.lifetime, self.accepts = scopes, lifetime, accepts
        self.base, self.changes = "", {}
        self.clients, self.codes, self.families, self.access, self.issued = {}, {}, {}, {}, {}
        self.registered, self.unregistered, self.public = {}, set(), set()
        self.lost, self.refreshes, self.codes_given = 0, 0, []
        self._numbers, self._lock = itertools.count(1), threading.Lock()

    @property
    def url(self):
        return self.base + PATH

    def be_silent(self):
        """Send no ``iss``, and announce none."""
        self.changes["server"] = {"authorization_response_iss_parameter_supported": False}
        self.changes["iss"] = None

    def answer(self, request):
        with self._lock:
            name = request.path.strip("/").replace(".well-known/", "").replace("-", "_").replace("/", "_")
            return getattr(self, f"_{name}", lambda _: Answer(status=404))(request)

    def _document(self, path, members):
        changed = self.changes.get(path, {})
        return changed if isinstance(changed, Answer) else Answer(json={**members, **changed})

    def _mcp(self, request):
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.access or time.monotonic() - self.issued[token] > self.lifetime:
            where = f'Bearer resource_metadata="{self.base}/.well-known/oauth-protected-resource/mcp"'
            return Answer(status=401, headers={"WWW-Authenticate": where})
        missing = set(self.scopes) - set(self.access[token].split())
        if missing:
            wanted = f'Bearer error="insufficient_scope", scope="{" ".join(sorted(missing))}"'
            return Answer(status=403, headers={"WWW-Authenticate": wanted})
        return Answer(json={"ok": True})

    def _oauth_protected_resource_mcp(self, _):
        members = {"resource": self.url, "authorization_servers": [self.base], "scopes_supported": ["tools:read"]}
        return self._document("resource", members)

    def _oauth_authorization_server(self, _):
        endpoints = {f"{name}_endpoint": f"{self.base}/{name}" for name in ("token", "revocation")}
        members = {
            "issuer": self.base,
            "authorization_endpoint": f"{self.base}/authorize",
            "registration_endpoint": f"{self.base}/register",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **endpoints,
        }
        return self._document("server", members)

    def _register(self, request):
        if self.unregistered & set(json.loads(request.body).get("scope", "").split()):
            return error_answer("invalid_client_metadata")
        number = next(self._numbers)
        self.clients[f"client-{number}"] = f"secret-{number}"
        members = {"client_id": f"client-{number}", "client_secret": f"secret-{number}", "client_secret_expires_at": 0}
        asked = json.loads(request.body)
        members |= {name: asked[name] for name in ("redirect_uris", "token_endpoint_auth_method")}
        self.registered[f"client-{number}"] = asked
        return self._document("register", members)

    def _authorize(self, request):
        asked = request.query
        assert asked["resource"] == self.url
        known = self.registered.get(asked["client_id"])
        if known is not None and asked["redirect_uri"] not in known["redirect_uris"]:
            return Answer(status=400)
        if known is not None and not set(asked.get("scope", "").split()) <= set(known.get("scope", "").split()):
            refused = {"error": "invalid_scope", "state": asked["state"], "iss": self.base}
            return redirect_answer(f"{asked['redirect_uri']}?{urlencode(refused)}")
        code = f"code-{next(self._numbers)}"
        self.codes[code] = asked
        self.codes_given.append(code)
        iss = self.changes.get("iss", self.base)
        answer = {"code": code, "state": asked["state"]} | ({} if iss is None else {"iss": iss})
        return redirect_answer(f"{asked['redirect_uri']}?{urlencode(answer)}")

    def _token(self, request):
        form, client = request.form, request.basic_auth
        if client is None and form.get("client_id") in self.public:
            client = (form["client_id"], None)
        elif client is None or self.clients.get(client[0]) != client[1]:
            return error_answer("invalid_client", status=401)
        assert form["resource"] == self.url
        if form["grant_type"] == "authorization_code":
            asked = self.codes.pop(form["code"])
            if (asked["client_id"], asked["redirect_uri"]) != (client[0], form["redirect_uri"]):
                return error_answer("invalid_grant")
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            assert urlsafe_b64encode(digest).decode().rstrip("=") == asked["code_challenge"]
            return self._issue(next(self._numbers), asked.get("scope", ""))
        family, scope = self.families.pop(form["refresh_token"], (None, ""))
        if family is None:
            self.lost += 1
            return error_answer("invalid_grant")
        self.refreshes += 1
        return self._issue(family, scope)

    def _issue(self, family, scope):
        number = next(self._numbers)
        self.families[f"refresh-{number}"] = (family, scope)
        self.access[f"access-{number}"] = scope
        self.issued[f"access-{number}"] = time.monotonic()
        tokens = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", "expires_in": self.lifetime}
        return Answer(json={**tokens, "token_type": "Bearer"})

    def _revocation(self, request):
        self.families.pop(request.form["token"], None)
        return Answer(status=200)


@contextmanager
def mcp_stub(**options):
    """Serve until the end of the block."""
    stub = McpStub(**options)
    with scripted_provider(stub.answer) as server:
        stub.base = server.base_url
        stub.server = server
        yield stub
