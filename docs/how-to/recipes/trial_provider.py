"""A provider for rehearsals on this machine. It answers what the file `answer` says; change the file at any time.

    python trial_provider.py 9000

`refreshers` is what the worker needs: `token-vault worker --refreshers trial_provider:refreshers`.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from vault_adapters import Rotation
from vault_adapters.providers import OAuth2Refresher

ANSWERS = {
    "invalid_grant": (400, {"error": "invalid_grant"}),  # the user has revoked the grant
    "invalid_client": (401, {"error": "invalid_client"}),  # the client secret is wrong
    "rate_limited": (429, {"error": "slow_down"}),
    "outage": (503, {"error": "temporarily_unavailable"}),
    "broken": (200, {"message": "We are updating our systems."}),
}


def answer():
    """Return status and members of the next answer."""
    place = Path("answer")
    wanted = place.read_text().strip() if place.exists() else "ok"
    if wanted == "silent":
        time.sleep(120)
    if wanted in ANSWERS:
        return ANSWERS[wanted]
    seconds = int(wanted) if wanted.isdigit() else 3600  # a number in the file: the lifetime of the next access tokens
    number = time.time_ns()
    return 200, {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}", "expires_in": seconds}


class Provider(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        status, members = answer()
        body = json.dumps(members).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def refreshers():
    """Return a refresher of the provider `trial`."""
    url = os.environ.get("TRIAL_URL", "http://127.0.0.1:9000/token")
    return {"trial": OAuth2Refresher(url, "client-id", "client-secret", rotation=Rotation.grace(30))}


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Provider)
    print(f"http://127.0.0.1:{server.server_port}/token", flush=True)
    server.serve_forever()
