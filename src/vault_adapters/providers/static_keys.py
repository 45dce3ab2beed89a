"""`StaticKeys`: says where API keys that do not expire may be sent, and in which header. Nothing refreshes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date
from functools import cache
from types import MappingProxyType

from attrs import field, frozen

from vault_adapters.providers.account_variables import AccountVariables, hosts_for, refusal_for
from vault_adapters.providers.profiles.loading import as_profile, static_profiles
from vault_adapters.providers.profiles.profile import Profile
from vault_domain.entities.account import Account, TokenKind
from vault_domain.entities.api_header import ApiHeader
from vault_domain.entities.errors import InvalidInputError, ProviderConfigurationError
from vault_domain.entities.rotation_policy import Rotation
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.token_set import TokenSet
from vault_domain.ports.token_refresher import RefreshRequest, TokenRefresher

_CHECKED = date(2012, 10, 1)  # the date of RFC 6750


@frozen(eq=False)
class StaticKeys:
    """The API keys of a provider that do not expire, as the provider's profile describes them; made by `refresher`.

    Attributes:
        source: the provider's profile, or the name of one of the package's profiles, which is read when it is needed.
        fixed: values of the profile's variables; all accounts share these values.
        finder: the host's callable that returns an account's values of the profile's variables; None: there is none.
    """

    source: Profile | str
    fixed: Mapping[str, str] = field(factory=dict, repr=False)
    finder: AccountVariables | None = field(default=None, repr=False)

    is_static = True
    spends = TokenKind.API_KEY
    rotation = Rotation.non_rotating()

    @property
    def profile(self) -> Profile:
        """The provider's profile."""
        return as_profile(self.source)

    @property
    def api_header(self) -> ApiHeader:
        """The header in which API requests carry the API key."""
        return self.profile.api.value

    async def hosts_of(self, account: Account, extra: Mapping[str, str]) -> tuple[str, ...]:
        """Return the hosts to which an account's API key may be sent; see `HostNamer`."""
        return await hosts_for(self.profile, account, extra, self.fixed, self.finder)

    async def refusal_of(self, account: Account, extra: Mapping[str, str]) -> str | None:
        """Return why an account must not have extra members; see `ExtraJudge`."""
        return await refusal_for(self.profile, account, extra, self.finder)

    async def refresh(self, request: RefreshRequest) -> TokenSet:
        """Raise an error, because nothing can be refreshed.

        Raises:
            ProviderConfigurationError: always.
        """
        raise ProviderConfigurationError(
            "API keys of this provider do not expire, so nothing is refreshed", account=request.account, refused=False
        )


@scrubbed
def static_key(*, hosts: Collection[str], header: str = "Authorization", scheme: str = "Bearer") -> StaticKeys:
    """Return what `open_vault` takes as refresher of a provider that has no profile, and whose API keys do not expire.

    Args:
        hosts: the hosts to which the keys may be sent, such as ``["api.example.com"]``; ``*.example.com`` stands for
            all hosts below ``example.com``. At least one.
        header: the header that carries a key.
        scheme: the text before the key; empty for none.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """
    if isinstance(hosts, str) or not isinstance(hosts, Collection) or not hosts:
        raise InvalidInputError("hosts must be a list of one host or more")
    return StaticKeys(
        Profile(
            name="static-key",
            title="API keys",
            docs=["https://www.rfc-editor.org/rfc/rfc6750"],  # type: ignore[arg-type]  # the profile's checks convert
            checked=_CHECKED,
            client_auth=["none"],  # type: ignore[arg-type]
            api_hosts=tuple(hosts),
            request={"grant": "none"},  # type: ignore[arg-type]
            rotation={"kind": "non_rotating"},  # type: ignore[arg-type]
            api={"header": header, "scheme": scheme},  # type: ignore[arg-type]
        )
    )


@cache
def packaged_keys() -> Mapping[str, TokenRefresher]:
    """Return the static API keys that the package has profiles of, by provider; no file is read yet."""
    return MappingProxyType({name: StaticKeys(name) for name in static_profiles()})
