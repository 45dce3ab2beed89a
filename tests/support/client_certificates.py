"""A private authority, a server on loopback, and two TLS clients: one of the authority, one with its own signature."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc.jwk import ECKey

_PEM = serialization.Encoding.PEM
_ADDRESS = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])


@frozen
class Certificates:
    """Where the files are; a client's file holds its key and its certificate.

    Attributes:
        authority: the authority's certificate.
        certified: the client of the authority; its subject is ``CN=certified``.
        self_signed: the other client.
        for_server: what a server needs, as texts.
    """

    authority: Path
    certified: Path
    self_signed: Path
    for_server: dict

    def context(self, client=None):
        """Return the TLS settings of an HTTP client that trusts the authority."""
        context = ssl.create_default_context(cafile=self.authority)
        if client is not None:
            context.load_cert_chain(client)
        return context


def make_certificates(folder):
    """Write keys and certificates that are valid for a day."""
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("authority", "server", "certified", "own")}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in keys}
    now = dt.datetime.now(dt.UTC)

    def certificate(name, signer, *extensions):
        public = keys[name].public_key()
        builder = x509.CertificateBuilder(names[signer], names[name], public, x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        more = [(x509.SubjectKeyIdentifier.from_public_key(public), False), *extensions]
        if name != signer:
            more.append((x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[signer].public_key()), False))
        for extension, critical in more:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(keys[signer], hashes.SHA256()).public_bytes(_PEM).decode()

    def private(name):
        return keys[name].private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()

    usage = x509.KeyUsage(
        **dict.fromkeys(
            [
                *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
                *("crl_sign", "encipher_only", "decipher_only"),
            ],
            False,
        ),
        key_cert_sign=True,
    )
    authority = certificate(
        "authority", "authority", (x509.BasicConstraints(ca=True, path_length=0), True), (usage, True)
    )
    own = certificate("own", "own")
    files = {
        "authority": authority,
        "certified": private("certified") + certificate("certified", "authority"),
        "own": private("own") + own,
    }
    for name, text in files.items():
        (folder / f"{name}.pem").write_text(text)
    jwk = ECKey.import_key(keys["own"]).as_dict(private=False)
    chain = "".join(own.split("\n")[1:-2])
    for_server = {
        "key": private("server"),
        "cert": certificate("server", "authority", (_ADDRESS, False)),
        "ca": [authority, own],
        "self_signed_jwks": {"keys": [{**jwk, "x5c": [chain]}]},
    }
    return Certificates(folder / "authority.pem", folder / "certified.pem", folder / "own.pem", for_server)
