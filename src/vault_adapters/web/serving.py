"""Serves a dashboard on this machine until a signal ends it."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from vault_adapters.web.loopback import OneTimeDoor
from vault_domain import ConfigurationError, InvalidInputError

_HTTP_PORT = 80  # browsers leave it out of the header Host


async def serve(app: ASGIApp, *, host: str, port: int, announce: Callable[[str], object]) -> None:
    """Serve an application behind a one-time link until SIGTERM or Ctrl-C.

    Args:
        app: the application.
        host: the address to listen at, as browsers name it: ``localhost`` or an IP address.
        port: the port; 0 takes a free one.
        announce: called with the one-time link.

    Raises:
        InvalidInputError: ``host`` is no address or stands for all addresses, or ``port`` is out of range.
        ConfigurationError: the system refuses to listen at this host and port.
    """
    with _listening(host, port) as listener:
        taken = listener.getsockname()[1]
        names = host_names(host, taken)
        door = OneTimeDoor(app, hosts=frozenset(names), cookie=f"token_vault_{taken}")
        config = uvicorn.Config(
            door,
            lifespan="off",
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=5,
            server_header=False,
            proxy_headers=False,
        )
        server = _Server(config)
        announce(f"http://{names[0]}{door.path}")
        await server.serve(sockets=[listener])


def host_names(host: str, port: int) -> list[str]:
    """Return the values of the header Host that browsers send for an address; the one-time link contains the first."""
    address = None if host == "localhost" else ipaddress.ip_address(host)
    shown = host if address is None else f"[{address}]" if address.version == 6 else str(address)
    names = [shown, "localhost"] if address is not None and address.is_loopback else [shown]
    with_port = [f"{name}:{port}" for name in names]
    return [*with_port, *names] if port == _HTTP_PORT else with_port


class _Server(uvicorn.Server):
    """Returns to its caller after a signal, so that the caller can close the vault.

    The server of uvicorn itself would raise the signal again.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop serving on SIGINT or SIGTERM."""
        loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
        with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
            for number in numbers:
                loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            with suppress(NotImplementedError, RuntimeError, ValueError):
                for number in numbers:
                    loop.remove_signal_handler(number)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    if not 0 <= port <= 65_535:
        raise InvalidInputError("port must be a whole number from 0 to 65535")
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:0.0.0.0 stands for all addresses too
    if address is None or address.is_unspecified or (mapped is not None and mapped.is_unspecified):
        raise InvalidInputError("host must be localhost or one IP address of this machine, as browsers will name it")
    listener = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        problem = _bound(listener, str(address), port)
        if problem is not None:
            raise ConfigurationError(f"the dashboard cannot listen at this host and port ({problem})")
        yield listener
    finally:
        listener.close()


def _bound(listener: socket.socket, address: str, port: int) -> str | None:
    """Bind a socket and listen; return the system's text for the error if it refuses, else None."""
    try:
        listener.bind((address, port))
        listener.listen(64)
    except OSError as error:
        return type(error).__name__ if error.strerror is None else error.strerror.lower()
    return None
