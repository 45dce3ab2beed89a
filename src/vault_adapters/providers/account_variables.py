"""Finds the values of a profile's variables, such as a subdomain, for one account.

A value comes from the host's callable, from the account's extra members, or from the values that all accounts share.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TypeAlias

from attrs import evolve, frozen

from vault_adapters.providers.profiles.profile import Profile
from vault_adapters.providers.profiles.templates import Allows, filled_host, in_host, names_in
from vault_domain.entities.account import Account
from vault_domain.entities.causes import VARIABLE_REFUSED
from vault_domain.entities.errors import (
    ConfigurationError,
    InvalidInputError,
    ProviderConfigurationError,
    RefreshFailedError,
    VaultError,
)
from vault_domain.entities.text import plain_text
from vault_domain.ports.token_refresher import RefreshRequest

_log = logging.getLogger(__name__)

_LONGEST_SEARCH = 10.0
"""Longest time in seconds for the host's callable, before an attempt begins."""

AccountVariables: TypeAlias = Callable[[Account], Mapping[str, str] | Awaitable[Mapping[str, str]]]
"""Returns the values of variables for an account; it may be a coroutine function."""


@frozen
class Values:
    """The values of a profile's variables for one account.

    Attributes:
        texts: the values by variable.
        chosen: the variables whose value only the account names; a URL whose host holds one is somebody else's choice.
    """

    texts: Mapping[str, object]
    chosen: frozenset[str] = frozenset()

    def choose_host(self, template: str) -> bool:
        """Return whether the account chose a part of the host's name of a URL."""
        return not self.chosen.isdisjoint(in_host(template))


def limited(profile: Profile, given: Mapping[str, object]) -> tuple[Profile, dict[str, str]]:
    """Check the values that all accounts share; return the profile, limited to them, and one value of each variable.

    Only a variable that decides a domain takes a list or a function (`Variable.allowed`). The list's first text is the
    value that accounts without a value share; if it has none, they share the profile's default.

    Raises:
        ConfigurationError: a name is not a variable of the profile; the message lists the variables.
        InvalidInputError: a value breaks its rule; the message does not repeat the value.
    """
    if not set(given) <= set(profile.variables):
        known = ", ".join(sorted(profile.variables)) or "none"
        raise ConfigurationError(f"{profile.name}: an argument is not a variable of this profile; known are: {known}")
    listed: dict[str, tuple[str | Allows, ...]] = {}
    for name, value in given.items():
        is_free = profile.variables[name].free_host
        values = tuple(value) if is_free and isinstance(value, (list, tuple)) and value else (value,)
        listed[name] = tuple(_as_allowed(profile, name, each, is_free=is_free) for each in values)
    texts = {name: [each for each in values if isinstance(each, str)] for name, values in listed.items()}
    return profile.limited(listed), {name: values[0] for name, values in texts.items() if values}


def _as_allowed(profile: Profile, name: str, value: object, *, is_free: bool) -> str | Allows:
    if is_free and callable(value) and not inspect.iscoroutinefunction(value):
        return value
    text = plain_text(value)
    if text is None:
        raise InvalidInputError(f"the variable {name} must be a text" + (", or a plain function" if is_free else ""))
    return profile.filled(f"{{{name}}}", {name: text})


async def values_for(
    profile: Profile,
    account: Account,
    extra: Mapping[str, str],
    fixed: Mapping[str, str],
    finder: AccountVariables | None,
    seconds: float | None = None,
) -> Values | VaultError:
    """Return the values of the variables for an account, or the error to raise.

    If several sources give a value for a variable, the host's callable overrides the account's extra members, and the
    extra members override the fixed values. A member that the profile refuses is an error, never passed over. If a
    variable decides a domain and the callable names it, the member must be the same.

    Args:
        profile: the provider's profile.
        account: the account.
        extra: the extra members of the account's access token.
        fixed: the values that all accounts share.
        finder: the host's callable, or None.
        seconds: longest time for the callable; None sets no limit.
    """
    if not profile.variables:
        return Values({})
    kept = {name: extra[name] for name in profile.variables if name in extra}
    found = {} if finder is None else await _found(profile, account, finder, seconds)
    if isinstance(found, VaultError):
        return found
    if (problem := profile.refusal(kept, found)) is not None:
        return ProviderConfigurationError(
            f"{problem}; nothing was sent", account=account, reason=VARIABLE_REFUSED, refused=False
        )
    return Values({**fixed, **kept, **found}, profile.chosen(kept, fixed) - found.keys())


async def _found(
    profile: Profile, account: Account, finder: AccountVariables, seconds: float | None
) -> dict[str, str] | VaultError:
    """Return the values that the host's callable names for an account, or the error to raise."""
    try:
        async with asyncio.timeout(seconds):
            found = finder(account)
            own = await found if inspect.isawaitable(found) else found
        return {name: own[name] for name in profile.variables if name in own}
    except VaultError as error:
        return error.with_traceback(None)
    except Exception as error:  # nothing was sent, so another try does no harm
        _log.warning("the variables of an account could not be found: %s", type(error).__name__)
        return RefreshFailedError("the variables of the account could not be found")


async def refusal_for(
    profile: Profile,
    account: Account,
    extra: Mapping[str, str],
    finder: AccountVariables | None,
) -> str | None:
    """Return why an account must not have extra members; None if it may.

    The host's callable is asked only if the profile refuses a variable; if it fails, the check at use decides.
    """
    refused = next((name for name, text in extra.items() if not profile.admits(name, text)), None)
    if refused is None:
        return None
    if refused not in profile.variables:
        return f"the account's extra member {refused} names a host outside the profile's api_domains"
    found = {} if finder is None else await _found(profile, account, finder, _LONGEST_SEARCH)
    return None if isinstance(found, VaultError) else profile.refusal(extra, found)


async def hosts_for(
    profile: Profile,
    account: Account,
    extra: Mapping[str, str],
    fixed: Mapping[str, str],
    finder: AccountVariables | None,
) -> tuple[str, ...]:
    """Return the hosts to which an account's access tokens may be sent.

    The result is empty if the host's callable fails.

    Raises:
        ConfigurationError: a name in a host has no value for this account, or a wrong one (code ``hosts_unknown``).
    """
    values = await values_for(profile, account, extra, fixed, finder)
    problem = None
    if isinstance(values, VaultError):
        if values.reason != VARIABLE_REFUSED:
            return ()
        problem, values = str(values).removesuffix("; nothing was sent"), Values({})
    try:
        if problem is None:
            return tuple(
                filled_host(template, profile.variables, values.texts, extra, profile.api_domains)
                for template in profile.api_hosts
            )
    except InvalidInputError as error:
        problem = str(error)
    raise ConfigurationError(
        f"{profile.name}: it is not known to which hosts this token may be sent, because {problem}; it was not sent",
        code="hosts_unknown",
        account=account,
    )


async def token_url_for(
    profile: Profile,
    template: str,
    account: Account,
    extra: Mapping[str, str],
    fixed: Mapping[str, str],
    finder: AccountVariables | None,
) -> str | None:
    """Return an account's token endpoint; None if the template has no variables, or if their values are not known."""
    if not names_in(template):
        return None
    values = await values_for(profile, account, extra, fixed, finder, _LONGEST_SEARCH)
    if isinstance(values, VaultError):
        return None
    with suppress(InvalidInputError):
        return profile.filled(template, values.texts)
    return None


async def prepared(
    profile: Profile, request: RefreshRequest, fixed: Mapping[str, str], finder: AccountVariables | None
) -> tuple[RefreshRequest, Values] | VaultError:
    """Find the values for the request's account. Return the request with shortened deadlines, and the values.

    The time that the search for the values took is subtracted from the deadlines.

    If the values cannot be found in time, return the error to raise.
    """
    clock = asyncio.get_running_loop().time
    began, longest = clock(), request.send_deadline or request.deadline
    values = await values_for(profile, request.account, request.extra, fixed, finder, longest.total_seconds())
    if isinstance(values, VaultError):
        return values
    spent = timedelta(seconds=clock() - began)
    if spent >= longest:  # the callable blocked the event loop, or the process was suspended; the lease may be over
        return RefreshFailedError("the variables of the account were not found in time")
    return evolve(request, deadline=request.deadline - spent, send_deadline=longest - spent), values
