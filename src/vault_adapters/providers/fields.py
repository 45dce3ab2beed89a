"""Reads the fields of a stored API key."""

from collections.abc import Sequence

from vault_domain.entities.errors import InvalidInputError, ReauthorizationRequiredError
from vault_domain.entities.secret import Secret


def credential_fields(
    credential: Secret, *names: str, optional: Sequence[str] = ()
) -> dict[str, str] | ReauthorizationRequiredError:
    """Return the named fields of a credential made with `Secret.from_fields`, or the error to raise.

    If a required field is missing or empty, the account needs another API key; other accounts are not affected.
    """
    fields = fields_of(credential)
    if all(fields.get(name) for name in names):
        return {name: fields[name] for name in (*names, *optional) if fields.get(name)}
    return ReauthorizationRequiredError(
        f"the stored API key must be Secret.from_fields({', '.join(f'{name}=...' for name in names)})",
        reason="invalid_client",
    )


def fields_of(credential: Secret) -> dict[str, str]:
    """Return the fields of a credential; an empty dict if the credential does not consist of fields."""
    try:
        return credential.reveal_fields()
    except InvalidInputError:
        return {}
