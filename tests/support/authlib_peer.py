"""A real OAuth server that knows clients by their public keys: Authlib's implementation of RFC 7523, on loopback."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from flask import Flask
from joserfc.jwk import Key
from werkzeug.serving import make_server


class _Client(ClientMixin):
    def __init__(self, client_id: str, key: Key) -> None:
        self.client_id, self.key = client_id, key

    def get_client_id(self):
        return self.client_id

    def check_grant_type(self, grant_type):
        return True

    def check_endpoint_auth_method(self, method, endpoint):
        return method == JWTBearerClientAssertion.CLIENT_AUTH_METHOD

    def get_allowed_scope(self, scope):
        return scope or ""


class _Grant(TokenMixin):
    """A refresh token that was issued to a client."""

    def __init__(self, client: _Client) -> None:
        self.client = client

    def check_client(self, client):
        return client is self.client

    def get_scope(self):
        return ""

    def is_expired(self):
        return False

    def is_revoked(self):
        return False


class AuthlibPeer:
    """The server's clients, its valid refresh tokens and the JWTs that it has seen.

    Attributes:
        users: the users for whom clients may request tokens with the JWT bearer grant.
        seen: the ids of client assertions; each may be used once.
        audiences: the audiences that the server answers to.
    """

    def __init__(self) -> None:
        self.clients: dict[str, _Client] = {}
        self.refresh_tokens: dict[str, _Grant] = {}
        self.users: set[str] = set()
        self.seen: list[str] = []
        self.token_url = ""
        self.audiences: list[str] = []

    def add_client(self, client_id: str, public_key: Key) -> None:
        self.clients[client_id] = _Client(client_id, public_key)

    def connect(self, client_id: str, refresh_token: str) -> None:
        self.refresh_tokens[refresh_token] = _Grant(self.clients[client_id])


@contextmanager
def authlib_peer() -> Iterator[AuthlibPeer]:
    """Serve until the end of the block."""
    peer = AuthlibPeer()
    server = make_server("127.0.0.1", 0, _application(peer), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    peer.token_url = f"http://127.0.0.1:{server.server_port}/token"
    peer.audiences.append(peer.token_url)
    try:
        yield peer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _application(peer: AuthlibPeer) -> Flask:
    os.environ.setdefault("AUTHLIB_INSECURE_TRANSPORT", "1")  # it is served on loopback
    application = Flask("peer")
    server = AuthorizationServer(application, query_client=peer.clients.get, save_token=lambda *_: None)
    server.register_client_auth_method(JWTBearerClientAssertion.CLIENT_AUTH_METHOD, _assertion(peer))
    server.register_grant(_refresh_grant(peer))
    server.register_grant(_bearer_grant(peer))
    application.add_url_rule("/token", view_func=server.create_token_response, methods=["POST"])
    return application


def _assertion(peer: AuthlibPeer) -> JWTBearerClientAssertion:
    class Assertion(JWTBearerClientAssertion):
        def get_audiences(self):
            return peer.audiences

        def validate_jti(self, claims, jti):
            peer.seen.append(jti)
            return peer.seen.count(jti) == 1

        def resolve_client_public_key(self, client):
            return client.key

    return Assertion()


def _refresh_grant(peer: AuthlibPeer) -> type[grants.RefreshTokenGrant]:
    class Refresh(grants.RefreshTokenGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = (JWTBearerClientAssertion.CLIENT_AUTH_METHOD,)

        def authenticate_refresh_token(self, refresh_token):
            return peer.refresh_tokens.get(refresh_token)

        def authenticate_user(self, refresh_token):
            return "user"

        def revoke_old_credential(self, refresh_token):
            """Keep it: rotation is not what this server is for."""

    return Refresh


def _bearer_grant(peer: AuthlibPeer) -> type[JWTBearerGrant]:
    class Bearer(JWTBearerGrant):
        def resolve_issuer_client(self, issuer):
            return peer.clients.get(issuer)

        def resolve_client_public_key(self, client):
            return client.key

        def authenticate_user(self, subject):
            return subject if subject in peer.users else None

        def has_granted_permission(self, client, user):
            return True

        def get_audiences(self):
            return peer.audiences

    return Bearer
