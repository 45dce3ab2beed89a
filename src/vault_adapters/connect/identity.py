"""Identifies the account that was connected: finds its identifier and label where the profile says."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from vault_adapters.connect.asking import Carried, Members, ask_further, get_json
from vault_adapters.connect.client import Client
from vault_adapters.providers.members import member_at, text_of
from vault_adapters.providers.profiles.facts import Place
from vault_domain.entities.errors import IdentityRefusedError, InvalidInputError
from vault_domain.entities.secret import Secret
from vault_domain.entities.text import MAX_NAME_LENGTH, as_identifier

if TYPE_CHECKING:
    from vault_adapters.providers.http import HttpClient


@frozen
class Identity:
    """An account at a provider.

    Attributes:
        identifier: the text that distinguishes the account from other accounts. It begins with the values of the
            profile's variables if the account has an instance of its own (see `Client.instance`), and with the group.
        stated: the identifier as the provider states it, without instance and group.
        group: the team or workspace within which the stated identifier is unique, or None if it is unique everywhere.
        label: a text by which the user recognises the account, or None. The text is not verified.
        kept: the further texts to keep with the access token (`Profile.kept`).
    """

    identifier: str
    stated: str
    group: str | None
    label: str | None
    kept: Mapping[str, str] = field(factory=dict, repr=False)


@frozen
class Answers:
    """The answers of a provider about an account.

    Attributes:
        answer: the token endpoint's answer.
        claims: the checked claims of the id_token, or None.
        access_token: the access token.
        variables: the values of the profile's variables.
        callback: further parameters of the callback.
        proof_key: the private key that the access token is bound to, or None.
    """

    answer: Members = field(repr=False)
    claims: Members | None = field(repr=False)
    access_token: Secret = field(repr=False)
    variables: Mapping[str, str] = field(repr=False)
    callback: Mapping[str, str] = field(repr=False)
    proof_key: Secret | None = None


async def identify(client: Client, said: Answers, http: HttpClient) -> Identity:
    """Return the identity of the account.

    Raises:
        IdentityRefusedError: the provider gave no usable identifier (reason ``identifier``), or userinfo does not name
            the user of the id_token (reason ``sub``).
        ConnectError: userinfo or the further request is needed, and its answer cannot be read.
    """
    profile = client.profile
    sources = await _sources(client, said, http)
    stated = _identifier(_found(sources, profile.identifier))
    group = _group(sources, profile.identifier)
    # Variables and groups hold no colon, so two instances, or two groups, never make the same text.
    whole = _identifier(":".join([*client.instance(said.variables), *([group] if group else []), stated]))
    kept = {name: text_of(_found(sources, place)) for name, place in profile.kept.items()}
    texts = {name: text for name, text in kept.items() if text}
    return Identity(whole, stated, group, _label(_found(sources, profile.label)), texts)


async def _sources(client: Client, said: Answers, http: HttpClient) -> dict[str, Any]:
    """Return what each source of `Place` says; a source that the profile does not use is not asked."""
    profile = client.profile
    sources: dict[str, Any] = {
        "answer": said.answer,
        "id_token": said.claims,
        "callback": said.callback,
        "variable": client.values(said.variables),
    }
    used = {place.source for place in profile.places}
    if "userinfo" in used:
        # OpenID Connect Core 1.0 section 5.3.1: a bearer token, whatever the provider's other APIs take.
        bearer = Carried(said.access_token, proof_key=said.proof_key)
        public = client.public(profile.userinfo_url or "", said.variables)
        url = client.url("userinfo_url", said.variables) or ""
        userinfo = await get_json(http, url, carried=bearer, public=public)
        # OpenID Connect Core 1.0 section 5.3.2: the sub of userinfo must be the sub of the id_token.
        if said.claims is not None and userinfo.get("sub") != said.claims["sub"]:
            raise IdentityRefusedError(reason="sub")
        sources["userinfo"] = userinfo
    if "further" in used and profile.further is not None:
        url = profile.filled(profile.further.url, client.values(said.variables))
        public = client.public(profile.further.url, said.variables)
        carried = Carried(said.access_token, profile.api.value, said.proof_key)
        sources["further"] = await ask_further(http, url, profile.further.body, carried, public=public)
    return sources


def _group(sources: Mapping[str, Any], place: Place | None) -> str | None:
    if place is None or not place.within:
        return None
    members = {**_mapping(sources.get(place.source)), "callback": sources["callback"]}
    group = _identifier(_first(members, place.within))
    if ":" in group:
        raise IdentityRefusedError(reason="identifier")
    return group


def _mapping(value: Any) -> Members:
    return value if isinstance(value, Mapping) else {}


def _found(sources: Mapping[str, Any], place: Place | None) -> Any:
    return None if place is None else _first(sources.get(place.source), (place.member, *place.otherwise))


def _first(members: Any, paths: Iterable[str]) -> Any:
    """Return the first member that there is, or None."""
    return next((value for path in paths if (value := member_at(members, path)) is not None), None)


def _identifier(value: Any) -> str:
    """Return an identifier as the provider writes it.

    A text that `as_identifier` would change, such as one that is not in Unicode NFC, is refused. If it were changed,
    two accounts could get the same identifier.
    """
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and text.isprintable() and text == text.strip():
        try:
            if as_identifier(text) == text:
                return text
        except InvalidInputError:
            pass
    raise IdentityRefusedError(reason="identifier")


def _label(value: Any) -> str | None:
    """Return a text that is harmless to show: one line, without characters that hide or reorder other characters."""
    if not isinstance(value, str):
        return None
    shown = "".join(character for character in value if unicodedata.category(character)[0] != "C")
    return " ".join(shown.split())[:MAX_NAME_LENGTH].strip() or None
