"""A stand-in for Azure Key Vault and for Microsoft's token endpoint, in a process of its own, behind an HTTP proxy.

It follows https://learn.microsoft.com/rest/api/keyvault/keys/wrap-key, unwrap-key and
https://learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses: TLS, the challenge, tokens
for the resource, versions of keys, RSA-OAEP-256 and A256KW, statuses and errors. Clients reach it by the real names of
the services, through a proxy that the environment names, and trust a certificate of its own.
"""

import asyncio
import base64
import datetime as dt
import json
import os
import re
import ssl
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from tests.support.key_server import Engine, KeyServer, run, running_module

VAULT, LOGIN = "acme.vault.azure.net", "login.microsoftonline.com"
DIRECTORY = "7f6c3d2e-0000-4000-8000-00000000aced"
CLIENT, SECRET = "11111111-2222-4333-8444-555555555555", "azure~secret-for-the-tests-only"
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
_FAILURES = {
    "denied": (403, "Forbidden", "Caller is not authorized to perform action on resource."),
    "disabled": (403, "Forbidden", "Operation wrapKey is not allowed on a disabled key."),
    "gone": (404, "KeyNotFound", "A key with (name/id) was not found in this key vault."),
    "deleting": (409, "Conflict", "Key is currently being deleted."),
    "throttled": (429, "Throttled", "Request was not processed because too many requests were received."),
    "down": (503, "ServiceUnavailable", "The service is unavailable."),
}


class _Rsa:
    algorithm = "RSA-OAEP-256"

    def __init__(self):
        self._key = rsa.generate_private_key(65537, 2048)

    def wrapkey(self, content):
        return self._key.public_key().encrypt(content, _OAEP)

    def unwrapkey(self, content):
        return self._key.decrypt(content, _OAEP)


class _Aes:
    algorithm = "A256KW"

    def __init__(self):
        self._key = os.urandom(32)

    def wrapkey(self, content):
        return keywrap.aes_key_wrap(self._key, content)

    def unwrapkey(self, content):
        return keywrap.aes_key_unwrap(self._key, content)


def _error(status, code, message):
    return status, {"error": {"code": code, "message": message}}


def _bytes(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class KeyVault(Engine):
    """Keys by name, each a list of versions with their ids; a key whose name begins with ``aes`` is an AES key.

    ``rotate`` gives a key a new version, ``retire`` disables all others; ``another`` and ``unnamed`` make an answer
    that names another key version or none; ``elsewhere`` asks for a token for another resource.
    """

    def __init__(self, identity):
        super().__init__()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(identity)
        self.tokens, self.keys, self.retired = set(), {}, set()

    def versions(self, name):
        if name not in self.keys:
            self.keys[name] = {}
            self.control(name, "rotate")
        return self.keys[name]

    def control(self, name, mode):
        if mode == "rotate":
            kind = _Aes if name.startswith("aes") else _Rsa
            self.keys.setdefault(name, {})[uuid.uuid4().hex] = kind()
        elif mode == "retire":
            self.retired |= {*list(self.versions(name))[:-1]}
        else:
            super().control(name, mode)

    async def answer(self, method, path, headers, body):
        if headers["host"].partition(":")[0] == LOGIN:
            return self._login(urlsplit(path).path, parse_qs(body.decode()))
        found = re.fullmatch(r"/keys/([\w-]+)/(?:(\w+)/)?(wrapkey|unwrapkey)\?api-version=[\w.-]+", path)
        if headers["host"].partition(":")[0] != VAULT or method != "POST" or found is None:
            return _error(404, "NotFound", "not found")
        name, version, operation = found.groups()
        mode = self.mode(name)
        if mode == "hang":
            await asyncio.sleep(3600)
        if headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens or mode == "elsewhere":
            resource = "https://storage.example" if mode == "elsewhere" else "https://vault.azure.net"
            challenge = f'Bearer authorization="https://{LOGIN}/{DIRECTORY}", resource="{resource}"'
            return *_error(401, "Unauthorized", "AKV10000: missing token"), {"WWW-Authenticate": challenge}
        if mode in _FAILURES:
            return _error(*_FAILURES[mode])
        return self._operate(name, version, operation, json.loads(body), mode)

    def _operate(self, name, version, operation, given, mode):
        versions = self.versions(name)
        used = version or list(versions)[-1]
        if used not in versions:
            return _error(404, "KeyNotFound", "not found")
        if used in self.retired:
            return _error(*_FAILURES["disabled"])
        if given["alg"] != versions[used].algorithm:
            return _error(400, "BadParameter", "Key does not support the algorithm.")
        try:
            result = getattr(versions[used], operation)(_bytes(given["value"]))
        except (ValueError, keywrap.InvalidUnwrap):
            return _error(400, "BadParameter", "The parameter is incorrect.")
        told = {"another": uuid.uuid4().hex, "unnamed": "../x"}.get(mode, used)
        value = base64.urlsafe_b64encode(result).rstrip(b"=").decode()
        return 200, {"kid": f"https://{VAULT}/keys/{name}/{told}", "value": value}

    def _login(self, path, given):
        base = f"https://{LOGIN}/{DIRECTORY}"
        if path.endswith("/discovery/instance"):
            return 200, {"tenant_discovery_endpoint": f"{base}/v2.0/.well-known/openid-configuration", "metadata": []}
        if path.endswith("/openid-configuration"):
            ends = {"authorization_endpoint": f"{base}/oauth2/v2.0/authorize", "issuer": f"{base}/v2.0"}
            return 200, ends | {"token_endpoint": f"{base}/oauth2/v2.0/token"}
        named = {name: given.get(name, [""])[0] for name in ("client_id", "client_secret", "scope", "grant_type")}
        right = (CLIENT, SECRET, "https://vault.azure.net/.default", "client_credentials")
        if path != f"/{DIRECTORY}/oauth2/v2.0/token" or tuple(named.values()) != right:
            return 401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret."}
        token = "eyJ." + base64.urlsafe_b64encode(os.urandom(24)).decode()
        self.tokens.add(token)
        return 200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}


class AzureServer(KeyServer):
    """The running stand-in.

    Attributes:
        identity: the file with its certificate.
    """

    identity = None

    def environment(self):
        """Return the variables by which Microsoft's libraries find it."""
        return {"HTTPS_PROXY": self.address, "REQUESTS_CA_BUNDLE": str(self.identity), "NO_PROXY": ""}

    def uri(self, name):
        return f"azure-kv:https://{VAULT}/keys/{name}" + (";alg=A256KW" if name.startswith("aes") else "")

    def tokens(self, folder, secret=SECRET):
        """Write the file of tokens, and return its path."""
        path = folder / "tokens.json"
        entry = {"tenant_id": DIRECTORY, "client_id": CLIENT, "client_secret": secret}
        path.write_text(json.dumps({f"https://{VAULT}": entry}))
        return path


def _write_identity(path):
    """Write a key and a certificate for the names of the services."""
    now, key = dt.datetime.now(dt.UTC), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.DNSName(VAULT), x509.DNSName(LOGIN)])
    builder = builder.add_extension(names, critical=False)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


@contextmanager
def running(folder):
    """Run the stand-in in another process during the block."""
    identity = folder / "identity.pem"
    _write_identity(identity)
    with running_module("tests.support.azure_key_server", AzureServer, identity) as server:
        server.identity = identity
        yield server


if __name__ == "__main__":
    run(KeyVault(Path(sys.argv[1])))
