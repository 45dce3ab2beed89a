"""What a user's browser sends when it comes back from a provider, and the path of the page that it is sent to next."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

from tests.fuzz.target import CANARY, Run, Target

from vault_adapters.connect.pages import is_local
from vault_adapters.connect.parameters import read_callback
from vault_adapters.testing import memory_vault
from vault_domain.entities.errors import InvalidInputError, StateRefusedError
from vault_domain.facade.vault import TokenVault

SITE = "https://app.example.com/connect/callback"


@contextmanager
def _opened() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        context = memory_vault()
        vault = runner.run(context.__aenter__())
        try:
            yield lambda data: runner.run(_come_back(vault, data))
        finally:
            runner.run(context.__aexit__(None, None, None))


async def _come_back(vault: TokenVault, data: bytes) -> None:
    text = data.decode("latin-1")
    _stay_on_the_site(text)
    callback = read_callback(text)
    for state in (callback.state, text):
        try:
            await vault.states.open(state, bound_to="session")
        except (InvalidInputError, StateRefusedError):
            continue
        raise AssertionError("a state was opened that nobody has sealed")


def _stay_on_the_site(path: str) -> None:
    """Resolve a path as browsers do: they drop tabs and line breaks, and read a backslash as a slash."""
    if is_local(path):
        seen = re.sub(r"[\t\r\n]", "", path).strip().replace("\\", "/")
        target = urlsplit(urljoin(SITE, seen))
        assert (target.scheme, target.netloc) == ("https", "app.example.com")


CALLBACKS = Target(
    "callbacks",
    _opened,
    (InvalidInputError,),
    (
        *(b"code=", b"state=", b"error=", b"iss=", b"&", b"=", b"%", b"%00", b"%ff", b"+", b";", b"?", b"#"),
        *(b"/", b"//", b"\\", b"\t", b"\n", b"@", b":", b"https:", b"evil.example", CANARY.encode()),
    ),
)
