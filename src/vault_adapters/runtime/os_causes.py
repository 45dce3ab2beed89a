"""Says why the file system refused something, in the codes of `vault_domain.entities.causes`."""

import errno

from vault_domain.entities import causes

_CAUSES = {
    errno.EACCES: causes.PERMISSION_DENIED,
    errno.EPERM: causes.PERMISSION_DENIED,
    errno.EROFS: causes.READ_ONLY,
    errno.ENOSPC: causes.DISK_FULL,
    errno.EDQUOT: causes.DISK_FULL,
}


def os_cause(error: OSError) -> str:
    """Return the cause of an error; for an error without a cause in the list, return its name, such as ``eio``."""
    number = error.errno or 0
    return _CAUSES.get(number) or os_name(error).lower()


def os_name(error: OSError) -> str:
    """Return an error's name, such as ``EIO``."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
