"""Makes public functions raise, and looks for secrets in the reports that error reporters make of the errors."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, field
from tests.security.canaries import leaks_in, make_canaries
from tests.security.reporters import reports

from vault_adapters import Account, EventFeed, ImportedToken, Secret, TokenKind, TokenSet, VaultConfig

CANARY, OTHER = make_canaries(2)
ACCOUNT = Account("t1", "google", "ann")
KEY = ACCOUNT.key(TokenKind.API_KEY)


@define
class Gate:
    """Searches errors for canaries, and counts the errors of each public name.

    Attributes:
        raised: number of errors by public name.
    """

    raised: dict[str, int] = field(factory=dict)

    def check(self, name: str, error: BaseException, *, skip: tuple[str, ...] = ()) -> None:
        """Look for canaries in all reports of an error."""
        leaks = {tool: leaks_in(text)[:2] for tool, text in reports(error, skip=skip).items()}
        assert not any(leaks.values()), (name, type(error), str(error), leaks)
        self.raised[name] = self.raised.get(name, 0) + 1

    async def expect(self, name: str, call: Callable[[], Any], **options: Any) -> bool:
        """Run a call of any kind, and return whether it raised."""
        try:
            await driven(call())
        except Exception as error:
            self.check(name, error, **options)
            return True
        return False

    def expect_now(self, name: str, call: Callable[[], Any], **options: Any) -> bool:
        """Do the same for a call without await."""
        try:
            result = call()
            if inspect.isgenerator(result):
                next(result, None)
        except Exception as error:
            self.check(name, error, **options)
            return True
        return False


async def driven(result: Any) -> None:
    """Await what a call returned, enter it, or take its first item."""
    if isinstance(result, Awaitable):
        await result
    elif isinstance(result, EventFeed):
        await anext(result)
    elif hasattr(result, "__aenter__"):
        async with result:
            pass
    elif isinstance(result, AbstractContextManager):
        await asyncio.to_thread(_enter, result)  # a SyncVault refuses to open on a running event loop
    elif inspect.isasyncgen(result):
        try:
            await anext(result, None)
        finally:
            await result.aclose()
    elif inspect.isgenerator(result):
        next(result, None)


def _enter(context: AbstractContextManager[Any]) -> None:
    with context:
        pass


def wrong_values() -> list[Any]:
    """Return arguments that hardly any parameter takes; each holds a canary."""
    refused = f"{CANARY}\0"
    return [refused, [(refused, CANARY)], {refused: CANARY}, Secret(CANARY)]


def right_value(name: str) -> Any:
    """Return an argument that the required parameter of this name takes; a new parameter needs a line here."""
    return {
        "account": ACCOUNT,
        "access_token": CANARY,
        "actor": "me",
        "after": None,
        "algorithm": "RS256",
        "claims": {"iss": CANARY},
        "jwk": {"kty": "RSA", "d": CANARY},
        "pem": CANARY,
        "make": None,
        "method": "GET",
        "sign": str,
        "signing_key": CANARY,
        "answers": TokenSet(CANARY),
        "app_id": "1",
        "app_secret": CANARY,
        "by": timedelta(1),
        "bound_to": CANARY,
        "client": None,
        "client_id": "client",
        "client_secret": CANARY,
        "connection": CANARY,
        "config": VaultConfig("sqlite:///:memory:", encryption_secret=OTHER * 2, scrypt_log2_n=14),
        "content": CANARY,
        "credential": CANARY,
        "error_code": "x",
        "expected_generation": 7,
        "items": [(KEY, CANARY)],
        "hosts": ["api.invalid"],
        "key": KEY,
        "key_id": "k1",
        "keys": [KEY],
        "kind": "api_key",
        "older_than": timedelta(days=400),
        "per": timedelta(1),
        "provider": "google",
        "name_or_profile": "zendesk",
        "path": "none.toml",
        "read_answer": dict,
        "requests": 1,
        "response": {"access_token": CANARY},
        "issuer": "https://provider.invalid",
        "rows": [ImportedToken(KEY, CANARY)],
        "seconds": 1.0,
        "since": datetime(2030, 1, 1, tzinfo=UTC),
        "tenant_id": "t1",
        "state": CANARY,
        "text": CANARY,
        "token_set": TokenSet(CANARY, OTHER),
        "token_url": "https://provider.invalid/token",
        "uri": None,
        "url": "https://api.invalid/items",
        "value": CANARY,
        "values": (),
        "within": timedelta(1),
    }[name]


_VARIABLE = {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}


def wrong_calls(
    function: Callable[..., Any], right: Callable[[str], Any], *, shapes: int = 4
) -> Iterator[Callable[[], Any]]:
    """Yield calls in which one argument is wrong and the required others are right."""
    parameters = [each for each in inspect.signature(function).parameters.values() if each.name != "self"]
    named = [each for each in parameters if each.kind not in _VARIABLE]
    required = [each.name for each in named if each.default is each.empty]
    for each in parameters:
        for wrong in wrong_values()[:shapes]:
            if each.kind is inspect.Parameter.VAR_POSITIONAL:
                yield lambda wrong=wrong: function(wrong)
                continue
            arguments = {name: right(name) for name in required if name != each.name}
            name = "some" if each.kind in _VARIABLE else each.name
            yield lambda arguments=arguments, name=name, wrong=wrong: function(**arguments, **{name: wrong})


def right_call(function: Callable[..., Any], right: Callable[[str], Any]) -> Callable[[], Any]:
    """Return a call with the required arguments."""
    parameters = inspect.signature(function).parameters.values()
    required = [each.name for each in parameters if each.default is each.empty and each.kind not in _VARIABLE]
    given = {name: right(name) for name in required if name != "self"}
    if function.__name__ == "find":
        given["text"] = "t1"  # what somebody looks for is no secret
    return lambda: function(**given)
