"""The server's process: prints where it listens, serves until its standard input ends."""

import json
import logging
import os
import shutil
import sys
import threading
from pathlib import Path

import django  # type: ignore[import-untyped, unused-ignore]
from django.conf import settings  # type: ignore[import-untyped, unused-ignore]
from django.core.management import call_command  # type: ignore[import-untyped, unused-ignore]
from django.core.servers.basehttp import (  # type: ignore[import-untyped, unused-ignore]
    ThreadedWSGIServer,
    WSGIRequestHandler,
)
from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped, unused-ignore]
from django.db import connections  # type: ignore[import-untyped, unused-ignore]

from .configuration import Options, read_arguments, settings_for


class _Server(ThreadedWSGIServer):  # type: ignore[misc, unused-ignore]
    """Django's own threaded server, which keeps connections alive. Its queue is long, because many connect at once."""

    request_queue_size = 1024
    daemon_threads = True


class _Handler(WSGIRequestHandler):  # type: ignore[misc, unused-ignore]
    """Disables Nagle's algorithm, because with it the body waits until the client acknowledges the headers."""

    disable_nagle_algorithm = True


def _end_with_parent(directory: Path) -> None:
    sys.stdin.buffer.read()
    # The parent removes the directory too, unless it was killed.
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(0)


def _register_clients(options: Options) -> dict[str, str]:
    from . import accounts, urls

    machine_id, machine_secret = "machine-client", "machine-secret"
    accounts.create_application(urls.CLIENT_ID, options.client_secret, "authorization-code")
    accounts.create_application(machine_id, machine_secret, "client-credentials")
    return {
        "client_id": urls.CLIENT_ID,
        "client_secret": options.client_secret,
        "machine_client_id": machine_id,
        "machine_client_secret": machine_secret,
    }


def _main(directory: Path, options: Options) -> None:
    logging.basicConfig(level=logging.ERROR)
    settings.configure(**settings_for(options, directory))
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
    clients = _register_clients(options)
    connections.close_all()
    server = _Server(("127.0.0.1", 0), _Handler)
    server.set_app(get_wsgi_application())
    print(json.dumps({"base_url": f"http://127.0.0.1:{server.server_port}", **clients}), flush=True)
    threading.Thread(target=_end_with_parent, args=(directory,), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    _main(*read_arguments())
