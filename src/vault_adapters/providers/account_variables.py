"""Finds the values of a profile's variables for one account.

They come from the host's function, the account's extra members, or fixed values.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TypeAlias

from attrs import evolve

from vault_adapters.providers.profiles.profile import Profile
from vault_domain.entities.account import Account
from vault_domain.entities.errors import ConfigurationError, InvalidInputError, RefreshFailedError, VaultError
from vault_domain.ports.token_refresher import RefreshRequest

_log = logging.getLogger(__name__)

AccountVariables: TypeAlias = Callable[[Account], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""Returns the values of variables for an account; it may be a coroutine function."""


def check_variables(profile: Profile, given: Mapping[str, object]) -> None:
    """Check the values that all accounts share.

    Raises:
        ConfigurationError: a name is not known; the message names those that are.
        InvalidInputError: a value breaks its rule; it is not repeated.
    """
    if not set(given) <= set(profile.variables):
        known = ", ".join(sorted(profile.variables)) or "none"
        raise ConfigurationError(f"{profile.name}: an argument is not a variable of this profile; known are: {known}")
    for name in given:
        profile.filled(f"{{{name}}}", given)


async def values_for(
    profile: Profile,
    account: Account,
    extra: Mapping[str, str],
    fixed: Mapping[str, str],
    finder: AccountVariables | None,
    seconds: float | None = None,
) -> Mapping[str, object] | VaultError:
    """Return the values for an account, or the error to raise; the host's callable has this many seconds.

    Values of the host's function take precedence over the account's extra members, and these over fixed values.
    """
    if not profile.variables:
        return {}
    kept = {name: extra[name] for name in profile.variables if name in extra}
    if finder is None:
        return {**fixed, **kept}
    try:
        async with asyncio.timeout(seconds):
            found = finder(account)
            own = await found if inspect.isawaitable(found) else found
        return {**fixed, **kept, **{name: own[name] for name in profile.variables if name in own}}
    except VaultError as error:
        return error.with_traceback(None)
    except Exception as error:  # nothing was sent, so another try does no harm
        _log.warning("the variables of an account could not be found: %s", type(error).__name__)
        return RefreshFailedError("the variables of the account could not be found")


async def hosts_for(
    profile: Profile,
    account: Account,
    extra: Mapping[str, str],
    fixed: Mapping[str, str],
    finder: AccountVariables | None,
) -> tuple[str, ...]:
    """Return the hosts that may get an account's access tokens, without those for which a variable is missing."""
    values = await values_for(profile, account, extra, fixed, finder)
    if isinstance(values, VaultError):
        return ()
    hosts = []
    for template in profile.api_hosts:
        with suppress(InvalidInputError):
            hosts.append(profile.filled(template, values).lower())
    return tuple(hosts)


async def prepared(
    profile: Profile, request: RefreshRequest, fixed: Mapping[str, str], finder: AccountVariables | None
) -> tuple[RefreshRequest, Mapping[str, object]] | VaultError:
    """Return the values for a request's account, and the request with the time that is left; or the error to raise."""
    clock = asyncio.get_running_loop().time
    began, longest = clock(), request.send_deadline or request.deadline
    values = await values_for(profile, request.account, request.extra, fixed, finder, longest.total_seconds())
    if isinstance(values, VaultError):
        return values
    spent = timedelta(seconds=clock() - began)
    if spent >= longest:  # the process was stopped, so the lease may be over
        return RefreshFailedError("the variables of the account were not found in time")
    return evolve(request, deadline=request.deadline - spent, send_deadline=longest - spent), values
