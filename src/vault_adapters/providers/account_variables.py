"""Finds the values of a profile's variables for one account: fixed ones, the account's extras, the host's callable."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from vault_adapters.providers.profiles.profile import Profile
from vault_domain.entities.account import Account
from vault_domain.entities.errors import ConfigurationError, RefreshFailedError, VaultError
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
    profile: Profile, request: RefreshRequest, fixed: Mapping[str, str], finder: AccountVariables | None
) -> Mapping[str, object] | VaultError:
    """Return the values for an account, or the error to raise.

    A value of the host's callable precedes one among the account's extras, and that precedes a fixed value.
    """
    if not profile.variables:
        return {}
    extra: Mapping[str, str] = getattr(request, "extra", None) or {}
    kept = {name: extra[name] for name in profile.variables if name in extra}
    if finder is None:
        return {**fixed, **kept}
    try:
        found = finder(request.account)
        own = await found if inspect.isawaitable(found) else found
        return {**fixed, **kept, **{name: own[name] for name in profile.variables if name in own}}
    except VaultError as error:
        return error.with_traceback(None)
    except Exception as error:  # nothing was sent, so another try does no harm
        _log.warning("the variables of an account could not be found: %s", type(error).__name__)
        return RefreshFailedError("the variables of the account could not be found")
