"""Without its library, a module says which extra installs it."""

import subprocess
import sys

import pytest

MODULES = [
    ("vault_adapters.clients.httpx2", "httpx2", "http"),
    ("vault_adapters.clients.httpx", "httpx", "httpx"),
    ("vault_adapters.clients.requests", "requests", "requests"),
    ("vault_adapters.clients.google", "google.auth", "google"),
    ("vault_adapters.clients.aiohttp", "aiohttp", "aiohttp"),
    ("vault_adapters.clients.pygithub", "github", "pygithub"),
    ("vault_adapters.clients.boto3", "botocore", "aws"),
    ("vault_adapters.clients.slack", "slack_sdk", "slack"),
    ("vault_adapters.clients.msal", "msal", "msal"),
    ("vault_adapters.connect", "authlib", "connect"),
    ("vault_adapters.connect", "joserfc", "connect"),
    ("vault_adapters.web", "starlette", "web"),
    ("vault_adapters.web", "jinja2", "web"),
]


@pytest.mark.parametrize(("module", "library", "extra"), MODULES)
def test_the_extra_of_a_library_that_is_not_installed_is_named(module, library, extra):
    script = f"import sys; sys.modules[{library!r}] = None; import {module}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: {library}")
    assert last.endswith(f" is not installed: install token-vault[{extra}]")
    assert "During handling" not in done.stderr
