"""The dashboard: pages that show an operator the state of a vault, as an ASGI application that a host mounts."""

from vault_adapters.web.application import dashboard

__all__ = ["dashboard"]
