"""Makes requests to a provider in the form that its profile describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from vault_adapters.providers.client_auth import AuthMethod, plain_form, plain_json, signed_form, signed_json
from vault_adapters.providers.fields import credential_fields
from vault_adapters.providers.http import Outgoing
from vault_adapters.providers.profiles.profile import Profile
from vault_domain.entities.errors import VaultError
from vault_domain.entities.secret import Secret
from vault_domain.ports.token_refresher import RefreshRequest

_GRANT_TYPES = {"refresh_token": "refresh_token", "client_credentials": "client_credentials"}


def members_of(
    profile: Profile,
    request: RefreshRequest,
    scopes: tuple[str, ...],
    extra: Mapping[str, str],
    values: Mapping[str, Any],
) -> dict[str, str]:
    """Return the members of a token request, without those that authenticate the client.

    Args:
        profile: the provider's profile.
        request: the input of the refresher.
        scopes: the scopes that the host passed to the refresher.
        extra: the host's further members.
        values: the values of the profile's variables.

    Raises:
        InvalidInputError: a variable of the profile has no value or a wrong one.
    """
    shape = profile.request
    members = {**profile.parameters(shape.extra, values), **extra}
    grant_type = shape.grant_type or _GRANT_TYPES.get(shape.grant)
    if grant_type is not None:
        members["grant_type"] = grant_type
    if shape.is_of_user:
        members[shape.credential or "refresh_token"] = request.credential.reveal()
    given = () if shape.is_of_user else scopes
    wanted = {"stored": request.scopes, "given": given}.get(shape.scopes)
    if wanted:
        members["scope"] = shape.scope_separator.join(wanted)
    return members


def signed(
    profile: Profile | None,
    url: str,
    members: Mapping[str, str],
    *,
    client_id: str,
    client_secret: Secret | None,
    auth_method: AuthMethod,
    is_json: bool = False,
) -> Outgoing:
    """Return an authenticated POST in the profile's format; without a profile, as ``is_json`` says."""
    is_json = is_json if profile is None else profile.request.format == "json"
    make = signed_json if is_json else signed_form
    outgoing = make(url, members, client_id=client_id, client_secret=client_secret, auth_method=auth_method)
    return outgoing if profile is None else _with_headers(outgoing, profile)


def asked(profile: Profile, url: str, members: Mapping[str, str]) -> Outgoing:
    """Return a GET whose query holds the members; the client does not authenticate itself."""
    return Outgoing(f"{url}?{urlencode(members)}", b"", profile.request.headers, method="GET")


def keyed(
    profile: Profile, url: str, members: Mapping[str, str], credential: Secret, auth_method: AuthMethod
) -> Outgoing | VaultError:
    """Return a POST that an account's own API key authenticates, or the error to raise if the key lacks a field."""
    if profile.request.grant == "client_credentials":
        fields = credential_fields(credential, "client_id", "client_secret")
        if isinstance(fields, VaultError):
            return fields
        secret = Secret(fields["client_secret"])
        return signed(
            profile, url, members, client_id=fields["client_id"], client_secret=secret, auth_method=auth_method
        )
    names = profile.request.fields
    fields = credential_fields(credential, *names)
    if isinstance(fields, VaultError):
        return fields
    sent = {**members, **{member: fields[name] for name, member in names.items()}}
    make = plain_json if profile.request.format == "json" else plain_form
    return _with_headers(make(url, sent), profile)


def _with_headers(outgoing: Outgoing, profile: Profile) -> Outgoing:
    headers = {**profile.request.headers, **outgoing.headers}
    return Outgoing(outgoing.url, outgoing.content, headers)
