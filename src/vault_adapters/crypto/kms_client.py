"""Creates the boto3 client for KMS, and keeps data keys out of its debug log."""

from typing import Any

from vault_domain.entities.errors import ConfigurationError

_CONNECT_SECONDS = 2
_READ_SECONDS = 5
_ATTEMPTS = 3


def connect(key_name: str) -> Any:
    """Return a KMS client from boto3's usual configuration (environment, profile, instance role).

    Args:
        key_name: a key id, ARN or alias; an ARN names its region.

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
        # Use a separate session, because the default one belongs to the host and is not thread-safe.
        return boto3.session.Session().client("kms", region_name=_region(key_name), config=limits)
    raise missing


def hide_bodies(client: Any) -> None:
    """Hide this client's request and response bodies from log messages.

    At level DEBUG botocore logs both, with plaintext data keys. Event handlers of this client replace the bodies with
    objects that print as ``<hidden>``. The loggers stay unchanged, because the host uses them too.
    """
    client.meta.events.register_last("before-call.kms", _hide_request, unique_id="token-vault-request")
    client.meta.events.register_last("before-parse.kms", _hide_response, unique_id="token-vault-response")


class _Hidden(bytes):
    """Bytes whose repr hides them."""

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
