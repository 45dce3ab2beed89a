"""Which cryptographic primitives the vault uses; those that FIPS 140-3 lacks run for a secret or an import only."""

import ast
import subprocess
import sys
from pathlib import Path

from tests.architecture.tree import SOURCE, python_files

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


def test_a_vault_with_a_key_service_runs_where_nothing_else_is_allowed(tmp_path):
    """In this process, a call of a primitive that FIPS does not approve ends with an error."""
    script = Path(__file__).with_name("approved_only.py")
    done = subprocess.run(
        [sys.executable, script, str(tmp_path / "vault.db")], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["value value value 1"]), done.stderr[-2000:]
