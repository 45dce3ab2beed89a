"""Runs the loopback provider as a program, to try out a service: ``python -m vault_adapters.testing.openid``."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from functools import partial

from vault_adapters.testing.openid.provider import LIFETIME, LoopbackOpenIdProvider
from vault_adapters.testing.openid.server import openid_provider


def main(argv: Sequence[str] | None = None) -> None:
    """Run a provider until the process is interrupted.

    Args:
        argv: the arguments; None takes the process's arguments.
    """
    parser = argparse.ArgumentParser("python -m vault_adapters.testing.openid", description="Runs an OpenID provider.")
    parser.add_argument("--port", type=int, default=8400, help="port on 127.0.0.1; 0 takes a free one (default: 8400)")
    parser.add_argument("--client-secret", default="loopback-secret", help="client secret (default: loopback-secret)")
    parser.add_argument(
        "--lifetime", type=int, default=LIFETIME, help=f"lifetime of access tokens in seconds (default: {LIFETIME})"
    )
    given = parser.parse_args(argv)
    make = partial(LoopbackOpenIdProvider, client_secret=given.client_secret)
    with openid_provider(make, port=given.port) as provider:
        provider.lifetimes.update({user.sub: given.lifetime for user in provider.users})
        print(f"issuer         {provider.issuer}")  # noqa: T201 - it is a program
        print(f"client id      {provider.client_id}")  # noqa: T201
        print(f"client secret  {provider.client_secret}", flush=True)  # noqa: T201
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
