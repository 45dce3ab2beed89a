"""Makes TLS contexts without the machine's certificate authorities, which no test needs.

No test connects to a public server. Reading a hundred and more certificates takes 11 ms of processor for each HTTP
client, which is longer than most tests use it. Contexts that trust a test's own authority read it as ever.
"""

import os
import ssl
from typing import Any

_paths = ssl.get_default_verify_paths()
_PUBLIC = {_paths.cafile, _paths.capath, _paths.openssl_cafile, _paths.openssl_capath}
_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_at_first = [os.environ.get(name) for name in _VARIABLES]
_load_verify_locations = ssl.SSLContext.load_verify_locations
_load_default_certs = ssl.SSLContext.load_default_certs


def pass_over() -> None:
    """Let the TLS contexts of this process read no authority of the machine."""
    ssl.SSLContext.load_verify_locations = _load_locations  # type: ignore[assignment,method-assign]
    ssl.SSLContext.load_default_certs = _load_default  # type: ignore[method-assign]


def _load_locations(self: ssl.SSLContext, cafile: Any = None, capath: Any = None, cadata: Any = None) -> None:
    if cadata is not None or {cafile, capath} - {None} - _PUBLIC:
        _load_verify_locations(self, cafile, capath, cadata)


def _load_default(self: ssl.SSLContext, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
    if [os.environ.get(name) for name in _VARIABLES] != _at_first:  # a test names its own authority
        _load_default_certs(self, purpose)
