"""Translates errors of KMS and botocore into errors of the vault."""

from vault_domain.entities.errors import ConfigurationError, KeyUnavailableError
from vault_domain.ports.cipher import UnreadableError

_DENIED = "the key service does not allow the use of the master key"
_CREDENTIALS = "the key service does not accept the credentials of this process, or there are none"

# The errors that become a ConfigurationError. Their sources are
# https://docs.aws.amazon.com/kms/latest/APIReference/API_Decrypt.html#API_Decrypt_Errors and CommonErrors.html.
# Every error outside of this table, except InvalidCiphertextException, counts as an outage, because trying again later
# loses no data.
_REFUSALS = {
    "AccessDeniedException": ("kms_access_denied", _DENIED),
    "DisabledException": ("kms_key_disabled", "the master key is disabled at the key service"),
    "KMSInvalidStateException": ("kms_key_state", "the master key is not in a usable state, or is to be deleted"),
    "NotFoundException": ("kms_key_not_found", "the key service does not know the master key"),
    "InvalidArnException": ("kms_key_not_found", "the key service does not know the master key"),
    "InvalidKeyUsageException": ("kms_key_usage", "the master key is not a symmetric encryption key"),
    "IncorrectKeyException": ("kms_wrong_key", "the data key was wrapped with another key of the key service"),
    "ValidationException": ("kms_request", "the key service does not accept requests for this master key"),
    "UnrecognizedClientException": ("kms_credentials", _CREDENTIALS),
    "InvalidClientTokenId": ("kms_credentials", _CREDENTIALS),
    "InvalidSignatureException": ("kms_credentials", _CREDENTIALS),
    "IncompleteSignature": ("kms_credentials", _CREDENTIALS),
    "MissingAuthenticationToken": ("kms_credentials", _CREDENTIALS),
    "MissingAuthenticationTokenException": ("kms_credentials", _CREDENTIALS),
    "OptInRequired": ("kms_access_denied", _DENIED),
    # errors of botocore, by class name
    "NoCredentialsError": ("kms_credentials", _CREDENTIALS),
    "PartialCredentialsError": ("kms_credentials", _CREDENTIALS),
    "ProfileNotFound": ("kms_credentials", _CREDENTIALS),
    "NoRegionError": ("kms_region", "no AWS region is configured and the master key is not named by its ARN"),
    "InvalidRegionError": ("kms_region", "the AWS region is not valid"),
}
_THROTTLED = frozenset(
    {"LimitExceededException", "RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"}
)


def translated(error: Exception) -> Exception:
    """Return the vault's error for an error of a KMS call, without text of that error.

    Args:
        error: the error that the call raised, of botocore or of any other class.
    """
    if isinstance(error, ConfigurationError):
        return error.with_traceback(None)
    code = _code_of(error)
    if code == "InvalidCiphertextException":
        return UnreadableError("kms_invalid_ciphertext")
    if code in _REFUSALS:
        refusal, message = _REFUSALS[code]
        return ConfigurationError(message, code=refusal)
    return KeyUnavailableError(reason="kms_throttled" if code in _THROTTLED else "kms_unavailable")


def _code_of(error: Exception) -> str:
    """Return a ClientError's code, or else the class name of the error, without importing botocore."""
    response = getattr(error, "response", None)
    details = response.get("Error") if isinstance(response, dict) else None
    code = details.get("Code") if isinstance(details, dict) else None
    return code if isinstance(code, str) else type(error).__name__
