"""The boto3 client for KMS, made so that its debug log does not show data keys."""

from typing import Any

from vault_domain.entities.errors import ConfigurationError

_CONNECT_SECONDS = 2
_READ_SECONDS = 5
_ATTEMPTS = 3


def connect(key_name: str) -> Any:
    """Return a KMS client from boto3's usual configuration (environment, profile, instance role).

    Args:
        key_name: a key id, ARN or alias; an ARN says its region.

    Raises:
        ConfigurationError: boto3 is not installed.
    """
    try:
        import boto3  # type: ignore[import-untyped]  # it has no types
        from botocore.config import Config  # type: ignore[import-untyped]
    except ImportError:
        missing = ConfigurationError("AWS KMS needs boto3: install `token-vault[aws]`", code="aws_extra_missing")
    else:
        limits = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        )
        # A session of its own: the default one belongs to the host and is not safe to share between threads.
        return boto3.session.Session().client("kms", region_name=_region(key_name), config=limits)
    raise missing


def hide_bodies(client: Any) -> None:
    """Make this client's requests and responses print as nothing.

    At level DEBUG botocore logs both, and with them data keys in clear. Handlers of this one client mark the bodies;
    the loggers, which the host shares, stay as they are.
    """
    client.meta.events.register_last("before-call.kms", _hide_request, unique_id="token-vault-request")
    client.meta.events.register_last("before-parse.kms", _hide_response, unique_id="token-vault-response")


class _Hidden(bytes):
    """Bytes that do not show themselves."""

    def __repr__(self) -> str:
        return "<hidden>"

    __str__ = __repr__


def _hide_request(params: dict[str, Any], **_: Any) -> None:
    params["body"] = _Hidden(params["body"])


def _hide_response(response_dict: dict[str, Any], **_: Any) -> None:
    response_dict["body"] = _Hidden(response_dict["body"])


def _region(key_name: str) -> str | None:
    parts = key_name.split(":")
    return parts[3] if len(parts) > 5 and parts[0] == "arn" else None
