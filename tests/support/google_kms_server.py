"""A stand-in for Google Cloud KMS and for Google's token endpoint, in a process of its own.

It follows https://cloud.google.com/kms/docs/reference/rest/v1/projects.locations.keyRings.cryptoKeys/encrypt and
https://developers.google.com/identity/protocols/oauth2/service-account: signed assertions, access tokens, checksums of
requests and answers, additional authenticated data, versions of keys, statuses and errors.
"""

import asyncio
import base64
import json
import os
import re
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.support.key_server import Engine, KeyServer, run, running_module

PROJECT = "acme-prod"
RING = f"projects/{PROJECT}/locations/europe-west3/keyRings/tokens/cryptoKeys"
SENDER = f"vault@{PROJECT}.iam.gserviceaccount.com"
_AUDIENCE = "https://oauth2.googleapis.com/token"
_SCOPE = "https://www.googleapis.com/auth/cloudkms"
_NOT_ENABLED = "the version is not enabled, current state is: DISABLED."
_FAILURES = {
    "denied": (403, "PERMISSION_DENIED", "Permission 'cloudkms.cryptoKeyVersions.useToDecrypt' denied on resource"),
    "disabled": (400, "FAILED_PRECONDITION", _NOT_ENABLED),
    "gone": (404, "NOT_FOUND", "CryptoKey not found."),
    "throttled": (429, "RESOURCE_EXHAUSTED", "Quota exceeded."),
    "down": (503, "UNAVAILABLE", "The service is currently unavailable."),
    "expired": (401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
}


def crc32c(content):
    """The checksum, bit by bit."""
    state = 0xFFFFFFFF
    for byte in content:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return str(state ^ 0xFFFFFFFF)


def _error(status, name, message):
    return status, {"error": {"code": status, "message": message, "status": name}}


def _bytes(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class GoogleKms(Engine):
    """Keys by name, each a list of versions.

    ``rotate`` gives a key a new primary version, ``retire`` disables all others; ``wrong_crc``, ``flipped``,
    ``unverified`` and ``renamed`` make an answer that was changed on its way.
    """

    def __init__(self, public_key):
        super().__init__()
        self.public_key = serialization.load_pem_public_key(public_key)
        self.tokens, self.keys, self.retired = set(), {}, set()

    def control(self, name, mode):
        versions = self.keys.setdefault(name, [AESGCM(os.urandom(32))])
        if mode == "rotate":
            versions.append(AESGCM(os.urandom(32)))
        elif mode == "retire":
            self.retired |= {(name, number) for number in range(len(versions) - 1)}
        else:
            super().control(name, mode)

    async def answer(self, method, path, headers, body):
        if path == "/token":
            return self._token(parse_qs(body.decode()))
        found = re.fullmatch(rf"/v1/{RING}/([\w-]+):(encrypt|decrypt)", path)
        if method != "POST" or found is None:
            return _error(404, "NOT_FOUND", "not found")
        name, operation = found.groups()
        mode = self.mode(name)
        if mode == "hang":
            await asyncio.sleep(3600)
        if headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            return _error(*_FAILURES["expired"])
        if mode in _FAILURES:
            return _error(*_FAILURES[mode])
        given = json.loads(body)
        for part in ("plaintext", "ciphertext", "additionalAuthenticatedData"):
            if part in given and given[f"{part}Crc32c"] != crc32c(base64.b64decode(given[part])):
                return _error(400, "INVALID_ARGUMENT", "The checksum in field did not match the data in field.")
        aad = base64.b64decode(given["additionalAuthenticatedData"])
        versions = self.keys.setdefault(name, [AESGCM(os.urandom(32))])
        return getattr(self, f"_{operation}")(name, mode, given, versions, aad)

    def _encrypt(self, name, mode, given, versions, aad):
        number, nonce = len(versions) - 1, os.urandom(12)
        sealed = bytes([number]) + nonce + versions[-1].encrypt(nonce, base64.b64decode(given["plaintext"]), aad)
        verified = ("verifiedPlaintextCrc32c", "verifiedAdditionalAuthenticatedDataCrc32c")
        used = "another" if mode == "renamed" else name
        told = {"name": f"{RING}/{used}/cryptoKeyVersions/{number + 1}"} | dict.fromkeys(verified, mode != "unverified")
        return 200, told | self._result("ciphertext", sealed, mode)

    def _decrypt(self, name, mode, given, versions, aad):
        sealed = base64.b64decode(given["ciphertext"])
        if (name, sealed[0]) in self.retired:
            return _error(400, "FAILED_PRECONDITION", _NOT_ENABLED)
        try:
            plaintext = versions[sealed[0]].decrypt(sealed[1:13], sealed[13:], aad)
        except (InvalidTag, IndexError, ValueError):
            return _error(
                400, "INVALID_ARGUMENT", "Decryption failed: verify that 'name' refers to the correct CryptoKey."
            )
        return 200, self._result("plaintext", plaintext, mode) | {"usedPrimary": sealed[0] == len(versions) - 1}

    def _result(self, member, content, mode):
        checksum = "7" if mode == "wrong_crc" else crc32c(content)
        if mode == "flipped":
            content = content[:-1] + bytes([content[-1] ^ 1])
        return {member: base64.b64encode(content).decode(), f"{member}Crc32c": checksum}

    def _token(self, given):
        signed, _, signature = given["assertion"][0].rpartition(".")
        try:
            self.public_key.verify(_bytes(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        claims = json.loads(_bytes(signed.partition(".")[2]))
        if (claims["iss"], claims["aud"], claims["scope"]) != (SENDER, _AUDIENCE, _SCOPE) or claims[
            "exp"
        ] < time.time():
            return 400, {"error": "invalid_grant"}
        token = "ya29." + base64.urlsafe_b64encode(os.urandom(24)).decode()
        self.tokens.add(token)
        return 200, {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}


class GoogleKmsServer(KeyServer):
    """The running stand-in.

    Attributes:
        private_key: the service account's private key, in PEM.
    """

    private_key = ""

    def uri(self, name):
        return f"gcp-kms:{RING}/{name}"

    def tokens(self, folder, private_key=None):
        """Write a service account's file and the file of tokens; return the path of the latter."""
        account = folder / "account.json"
        members = {"type": "service_account", "client_email": SENDER, "token_uri": f"{self.address}/token"}
        account.write_text(
            json.dumps(members | {"private_key_id": "1", "private_key": private_key or self.private_key})
        )
        path = folder / "tokens.json"
        path.write_text(json.dumps({f"gcp-kms:projects/{PROJECT}": self.entry(account)}))
        return path

    def entry(self, account):
        return {"credentials": str(account), "endpoint": self.address}


def new_private_key():
    """Return an RSA key in PEM, and its public half in PEM."""
    key, pem = rsa.generate_private_key(65537, 2048), serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.decode(), key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)


@contextmanager
def running(folder):
    """Run the stand-in in another process during the block."""
    private, public = new_private_key()
    path = folder / "account-public.pem"
    path.write_bytes(public)
    with running_module("tests.support.google_kms_server", GoogleKmsServer, path) as server:
        server.private_key = private
        yield server


if __name__ == "__main__":
    run(GoogleKms(Path(sys.argv[1]).read_bytes()))
