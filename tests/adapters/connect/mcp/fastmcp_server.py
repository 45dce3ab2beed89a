"""A FastMCP server with an authorization server of its own: `python fastmcp_server.py PORT`."""

import sys
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastmcp import FastMCP
    from fastmcp.server.auth.auth import ClientRegistrationOptions
    from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


if __name__ == "__main__":
    port = int(sys.argv[1])
    options = ClientRegistrationOptions(enabled=True, valid_scopes=["read"])
    base = f"http://127.0.0.1:{port}"
    auth = InMemoryOAuthProvider(base_url=base, client_registration_options=options, required_scopes=["read"])
    server = FastMCP("tools", auth=auth)
    server.tool(add)
    server.run(transport="http", host="127.0.0.1", port=port, show_banner=False)
