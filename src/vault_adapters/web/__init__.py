"""The dashboard: pages that show an operator the state of a vault, as an ASGI application that a host mounts."""

try:
    from vault_adapters.web.application import dashboard
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error.name} is not installed: install token-vault[web]", name=error.name) from None

__all__ = ["dashboard"]
