"""Refuses private addresses, for requests whose URL somebody else has chosen (server-side request forgery)."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

_NAT64 = IPv6Network("64:ff9b::/96")


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
    """Return whether an IP address is one of the public Internet; an embedded IPv4 address counts."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    embedded = _embedded(address) if isinstance(address, IPv6Address) else None
    if embedded is not None:
        return is_public(str(embedded))
    return address.is_global and not address.is_multicast


def _embedded(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour or (address.teredo[1] if address.teredo is not None else None)
