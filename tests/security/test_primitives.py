"""Which cryptographic primitives the vault uses; those that FIPS 140-3 lacks run for a secret or an import only."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.adapters.crypto.conftest import kms_client, kms_endpoint
from tests.adapters.crypto.kms_service import REGION, new_key
from tests.adapters.rotation.place import OLD
from tests.architecture.tree import SOURCE, python_files
from tests.support.transit_server import running

__all__ = ["kms_client", "kms_endpoint"]

DEBIAN_PYTHON, DEBIAN_PACKAGES = "/usr/bin/python3", Path("/usr/lib/python3/dist-packages")

MODULES = ("hashlib", "hmac", "cryptography")
APPROVED = {"sha256", "sha512", "digest", "new", "compare_digest", "AESGCM", "SHA512", "HMAC", "InvalidTag"}

ELSEWHERE = {
    "vault_adapters/crypto/local_key.py": {"scrypt"},  # a master key that is derived from a secret
    "vault_adapters/crypto/legacy.py": {"scrypt"},  # imports from the original system
    "vault_adapters/providers/dpop.py": {
        "ec",
        "hashes",
        "decode_dss_signature",
    },  # ECDSA on P-256 with SHA-256: approved
    "vault_adapters/crypto/fernet.py": {"Fernet", "InvalidToken", "MultiFernet"},  # imports of Fernet columns
}
"""What is not approved, or not by itself, and only runs where its comment says."""


def primitives(path):
    """Return what a module takes from the modules of cryptography: attributes, imported names and names in texts."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] in MODULES:
                found |= {alias.name for alias in names}
            case ast.Attribute(value=ast.Name(id="hashlib" | "hmac"), attr=name):
                found.add(name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="hmac" | "hashlib"), attr="digest" | "new"), args=args):
                found |= {arg.value for arg in args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return found


def test_every_primitive_is_approved_or_listed():
    found = {str(path.relative_to(SOURCE)): primitives(path) for path in python_files(SOURCE)}
    others = {path: names - APPROVED for path, names in found.items() if names - APPROVED}
    for path in list(others):
        if path.startswith("vault_adapters/importing/"):
            del others[path]  # file names and values of other systems, read by an explicit import
    assert others == ELSEWHERE
    assert sum(map(bool, found.values())) > 15


def run(arguments, python=sys.executable, **environment):
    script = Path(__file__).with_name("approved_only.py")
    done = subprocess.run(
        [python, script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["value value second value 3"]), done.stderr[-2000:]


def test_a_vault_with_a_key_service_runs_where_nothing_else_is_allowed(tmp_path, kms_endpoint, kms_client):
    """In this process, a call of a primitive that FIPS does not approve ends with an error."""
    uris = [f"aws-kms:{new_key(kms_client)}" for _ in range(2)]
    environment = {"AWS_ENDPOINT_URL": kms_endpoint, "AWS_DEFAULT_REGION": REGION}
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    run([tmp_path / "vault.db", *uris, "", "boto3"], **environment, **credentials)


def fips_environment(folder):
    """Return the variables of a process in which OpenSSL has its FIPS provider and no other; skip if there is none.

    Debian has the provider in the package openssl-provider-fips, and a cryptography over the same OpenSSL for its own
    Python. The wheels of cryptography have an OpenSSL of their own, which loads no provider.
    """
    module = next(Path("/usr/lib").glob("*/ossl-modules/fips.so"), None)
    if module is None or not Path(DEBIAN_PYTHON).exists() or not DEBIAN_PACKAGES.joinpath("cryptography").exists():
        pytest.skip("OpenSSL's FIPS provider is not installed (Debian: openssl-provider-fips, python3-cryptography)")
    installed = folder / "fipsmodule.cnf"
    install = ["openssl", "fipsinstall", "-module", module, "-out", installed, "-quiet"]
    subprocess.run(install, check=True, capture_output=True)
    configuration = folder / "openssl.cnf"
    configuration.write_text(
        f"config_diagnostics = 1\nopenssl_conf = start\n.include {installed}\n"
        "[start]\nproviders = providers\nalg_section = algorithms\n[providers]\nfips = fips_sect\nbase = base_sect\n"
        "[base_sect]\nactivate = 1\n[algorithms]\ndefault_properties = fips=yes\n"
    )
    only = folder / "debian"  # of Debian's packages, only these; the others are those of the tests
    only.mkdir()
    for package in (DEBIAN_PACKAGES / "cryptography", *DEBIAN_PACKAGES.glob("_cffi_backend*.so")):
        only.joinpath(package.name).symlink_to(package)
    paths = [only, SOURCE, SOURCE.parent, *(path for path in sys.path if "site-packages" in path)]
    return {
        "OPENSSL_CONF": str(configuration),
        "CRYPTOGRAPHY_OPENSSL_NO_LEGACY": "1",
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


PROBE = """
import _hashlib, hashlib
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.backends.openssl import backend
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
assert backend._fips_enabled and _hashlib.get_fips_mode() == 1
AESGCM(bytes(32)).encrypt(bytes(12), b"x", None)
for call in (lambda: ChaCha20Poly1305(bytes(32)), lambda: hashlib.scrypt(b"x", salt=bytes(16), n=2, r=1, p=1)):
    try:
        call()
    except (UnsupportedAlgorithm, ValueError):
        continue
    raise AssertionError
"""


def test_a_vault_with_a_key_service_runs_over_the_fips_provider_of_openssl(tmp_path):
    environment = fips_environment(tmp_path)
    probe = subprocess.run(
        [DEBIAN_PYTHON, "-c", PROBE], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert probe.returncode == 0, probe.stderr
    with running() as transit:
        uris = transit.uri("vault"), transit.uri("own")
        run([tmp_path / "vault.db", *uris, transit.tokens(tmp_path)], python=DEBIAN_PYTHON, **environment)


def test_a_secret_as_the_master_key_is_refused_over_the_fips_provider(tmp_path):
    """scrypt is not approved."""
    environment = fips_environment(tmp_path)
    program = (
        "import asyncio\nfrom vault_adapters import *\nasync def main():\n"
        f"    async with open_vault(VaultConfig('sqlite:///{tmp_path}/vault.db', encryption_secret='{OLD}')): pass\n"
        "try:\n    asyncio.run(main())\nexcept ConfigurationError as error:\n    print(error.code)\n"
    )
    done = subprocess.run(
        [DEBIAN_PYTHON, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "scrypt_missing", done.stderr[-2000:]
