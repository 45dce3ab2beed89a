"""Reads the form of a POST request."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

from vault_domain import InvalidInputError

_MOST_BYTES = 16_384
_MOST_FIELDS = 20


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of an urlencoded form; the last one if several fields have the same name.

    Raises:
        InvalidInputError: the body is too large, has too many fields, or is not an urlencoded form.
    """
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise InvalidInputError("the form must be sent as application/x-www-form-urlencoded")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise InvalidInputError(f"the form must have at most {_MOST_BYTES} bytes")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        problem = InvalidInputError("the form cannot be read")
    else:
        return dict(pairs)
    raise problem
