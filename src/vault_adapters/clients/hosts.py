"""Decides whether a request may carry an account's access token, by the place that the request goes to."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from vault_domain import Account, ConfigurationError, InvalidInputError

_NAME = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_HOST = re.compile(rf"(?P<below>\*\.)?(?P<name>{_NAME}|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?\Z")
_HTTPS_PORT = 443
# HTTP libraries disagree about URLs with these characters, so a request could go to another host than the checked one.
_AMBIGUOUS = re.compile(r"[^\x21-\x7e]|\\")


class Place(NamedTuple):
    """The place that a request goes to.

    Attributes:
        scheme: the URL's scheme, in lower case.
        host: the name in ASCII, or an address without brackets.
        port: the port, or None for the scheme's default port.
    """

    scheme: str
    host: str
    port: int | None

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Hosts:
    """The hosts that may get an account's token.

    Args:
        hosts: the hosts that the host service named; None: it named none, and `check` uses ``told``.
    """

    def __init__(self, hosts: Collection[str] | None) -> None:
        self.named = None if hosts is None else parsed(hosts)

    def check(
        self, place: Place | None, account: Account, told: Iterable[str] = (), *, proxied: bool | None = None
    ) -> None:
        """Refuse a place that may not get the token.

        Args:
            place: where the request goes; None: its URL is ambiguous.
            account: the account of the token, for the error.
            told: the hosts that the vault names; ignored if the host service named hosts.
            proxied: whether the request goes to a proxy. None: the HTTP library takes proxies from the environment,
                unless it is told otherwise.

        Raises:
            ConfigurationError: the code is ``hosts_unknown`` if no hosts are known for the token,
                ``loopback_proxied`` if a proxy would get the token in clear, and
                ``host_not_allowed`` otherwise.
        """
        allowed = parsed(told) if self.named is None else self.named
        if self.named is None and not allowed:
            raise ConfigurationError(
                "nothing says to which hosts this token may be sent: pass hosts=[...], or register a refresher whose"
                " profile has api_hosts; the token was not sent",
                code="hosts_unknown",
                account=account,
            )
        if place is None or not any(_covers(entry, place) for entry in allowed):
            raise ConfigurationError(
                "the access token may not be sent to this request's host and port, or may be sent there only with TLS;"
                " it was not sent",
                code="host_not_allowed",
                account=account,
            )
        # Only a loopback host may use http; a proxy would get the token in clear, and send it on to its own loopback.
        if place.scheme == "http" and (_is_proxied(place.host) if proxied is None else proxied):
            raise ConfigurationError(
                "a proxy would get this request, with the token in clear: name the loopback host in NO_PROXY if the"
                " proxy is that of HTTP_PROXY or ALL_PROXY; the token was not sent",
                code="loopback_proxied",
                account=account,
            )


class _Entry(NamedTuple):
    name: str
    below: bool
    port: int | None


def parsed(hosts: Iterable[str]) -> tuple[_Entry, ...]:
    """Return the entries of a list of hosts.

    Raises:
        InvalidInputError: an entry is not a host's name; the message does not repeat the entry.
    """
    return tuple(_entry(host) for host in hosts)


def problem_with(hosts: object) -> InvalidInputError | None:
    """Return the error for hosts that the host service named, or None; raise nothing (see `access.misuse`)."""
    if hosts is None:
        return None
    if isinstance(hosts, (str, bytes)) or not isinstance(hosts, Collection):
        return InvalidInputError("hosts must be a list of hosts' names")
    try:
        return None if parsed(hosts) else InvalidInputError("hosts must name at least one host")
    except InvalidInputError as error:
        return InvalidInputError(str(error))


def place_of(url: str) -> Place | None:
    """Return the place that a URL names; None if libraries could read it in several ways."""
    if _AMBIGUOUS.search(url):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    return None if host is None else Place(parts.scheme, host, port)


def _entry(host: object) -> _Entry:
    found = _HOST.match(_ascii(host)) if isinstance(host, str) else None
    if found is None or (found["below"] and "." not in found["name"]):
        raise InvalidInputError(
            "each of the hosts must be a name such as api.example.com, *.example.com or localhost:8080, without scheme"
        )
    port = found["port"]
    return _Entry(found["name"].strip("[]"), bool(found["below"]), None if port is None else int(port))


def _ascii(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        encoded = host.lower().encode("idna")
        # Python implements IDNA 2003, which turns faß.de into fass.de. By IDNA 2008, these are different hosts.
        return encoded.decode().lower() if encoded.decode("idna") == host.lower() else ""
    except UnicodeError:
        return ""


def _covers(entry: _Entry, place: Place) -> bool:
    host = place.host.lower()
    if not (host.endswith(f".{entry.name}") if entry.below else host == entry.name):
        return False
    if place.is_loopback:
        return place.scheme in ("https", "http") and entry.port in (None, _port(place))
    return place.scheme == "https" and _port(place) == (entry.port or _HTTPS_PORT)


def _is_proxied(host: str) -> bool:
    proxies = getproxies()
    return ("http" in proxies or "all" in proxies) and not proxy_bypass(host)


def _port(place: Place) -> int:
    return place.port or (_HTTPS_PORT if place.scheme == "https" else 80)
