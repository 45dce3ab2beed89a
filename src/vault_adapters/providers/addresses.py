"""Refuses private addresses, for requests whose URL somebody else has chosen (server-side request forgery)."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL = IPv6Network("2000::/3")
# IETF protocols with Teredo and ORCHID, documentation, 6to4.
_SPECIAL_IPV6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
# The registry of special-purpose addresses (RFC 6890), multicast, and the platform's address in Azure's networks.
_SPECIAL_IPV4 = tuple(
    map(
        IPv4Network,
        [
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
            *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
        ],
    )
)


class PrivateAddressError(Exception):
    """A host's name leads to an address that is not one of the public Internet."""


async def refuse_private_host(url: str) -> None:
    """Resolve a URL's host.

    Raises:
        PrivateAddressError: one of its addresses is not public.
        OSError: the host has no address.
    """
    parts = urlsplit(url)
    found = await asyncio.get_running_loop().getaddrinfo(parts.hostname or "", parts.port, type=socket.SOCK_STREAM)
    if not all(is_public(str(address[0])) for *_, address in found):
        raise PrivateAddressError


async def refuse_private_peer(stream: Any) -> None:
    """Look at the address that a connection has reached; close the connection if it is refused.

    Raises:
        PrivateAddressError: it is not public, or not known.
    """
    address = stream.get_extra_info("server_addr")
    if not isinstance(address, tuple) or not is_public(str(address[0])):
        await stream.aclose()
        raise PrivateAddressError


def is_public(text: str) -> bool:
    """Return whether an IP address is one of the public Internet.

    The ranges are kept here, because those of `ipaddress` differ between versions of Python. An IPv4 address that
    stands in an IPv6 address counts where a network or a socket goes there (mapped, NAT64); other ways to embed one are
    refused.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        embedded = _embedded(address)
        if embedded is None:
            return address in _GLOBAL and not any(address in each for each in _SPECIAL_IPV6)
        address = embedded
    return not any(address in each for each in _SPECIAL_IPV4)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    is_translated = address.ipv4_mapped is not None or address in _NAT64
    return IPv4Address(int(address) & 0xFFFFFFFF) if is_translated else None
