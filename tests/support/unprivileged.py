"""Run servers as another user if the tests run as root, as in containers, because servers refuse to run as root."""

import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TypedDict

# sockaddr_un holds a path of at most 104 bytes on some systems, 108 on others. The path consists of the directory and
# the socket's own name.
_LONGEST_DIRECTORY = 70
_IN_MEMORY = Path("/dev/shm")
_ENOUGH_BYTES = 2 << 30


class RunAs(TypedDict, total=False):
    """Keyword arguments for `subprocess` that change the user; empty if no change is needed."""

    user: int
    group: int
    extra_groups: list[int]


def server_user() -> pwd.struct_passwd | None:
    """Return the user that servers have to run as, or None if the current user can run them."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("the tests run as root, and servers need a user named `postgres` or `nobody`")


def run_as() -> RunAs:
    """Return what `subprocess` needs in order to run a server as `server_user`."""
    user = server_user()
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def reachable(path: Path) -> bool:
    """Tell whether `server_user` may read `path`; if that is not the current user, the mode bits for others decide."""
    if server_user() is None:
        return os.access(path, os.R_OK | os.X_OK)
    wanted = stat.S_IROTH | stat.S_IXOTH
    resolved = path.resolve()
    if resolved.stat().st_mode & wanted != wanted:
        return False
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in resolved.parents)


def server_directory(prefix: str) -> Path:
    """Create a directory that belongs to `server_user`, short enough for a socket, closed to everybody else.

    It is closed because a socket in it may trust every client. It is in memory if enough is free: each schema of the
    tests makes and removes more than a hundred files. On a disk, this work takes a third of the server's time.
    """
    roomy = _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free >= _ENOUGH_BYTES
    for parent in (*([_IN_MEMORY] if roomy else []), Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if parent.is_dir() and len(os.fsencode(parent)) < _LONGEST_DIRECTORY and reachable(parent):
            break
    else:
        raise RuntimeError("no directory for temporary files is both short enough and open to server processes")
    directory = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    user = server_user()
    if user is not None:
        os.chown(directory, user.pw_uid, user.pw_gid)
    return directory
