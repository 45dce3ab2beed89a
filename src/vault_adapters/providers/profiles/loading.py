"""Reads profiles: the package's, and a host's own."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from os import PathLike
from pathlib import Path

from vault_adapters.providers.profiles.checks import made
from vault_adapters.providers.profiles.profile import Profile
from vault_domain.entities.errors import ConfigurationError, InvalidInputError
from vault_domain.entities.scrub import scrubbed
from vault_domain.entities.text import plain_text

_LARGEST = 256 * 1024
_MOST_DOTS = 100
"""Largest number of dots in a line. The time to read a dotted key grows with the square of the number of its parts."""

_SUFFIX = ".toml"
_FILES = "vault_adapters.providers.profiles"


def profiles() -> list[str]:
    """Return the names of the package's profiles, sorted."""
    return sorted(_packaged())


def static_profiles() -> list[str]:
    """Return the names of the package's profiles of API keys that do not expire, sorted."""
    return sorted(_names_of_keys())


@scrubbed
def load_profile(path: str | PathLike[str]) -> Profile:
    """Read a profile from a TOML file.

    Args:
        path: the file; the how-to guide "Write a provider's profile" describes its keys.

    Raises:
        InvalidInputError: ``path`` is no text or path, or the file's name is not printable.
        ConfigurationError: the file cannot be read, a key is unknown or missing, or a value breaks its rule. The
            message names the file, the key and the rule, and does not repeat the value.
    """
    if not isinstance(path, (str, PathLike)):
        raise InvalidInputError("path must be a text or a path")
    name = Path(path).name
    if not name.isprintable():
        raise InvalidInputError("path must be printable")
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except ValueError:  # a directory's name has NUL or a lone surrogate; the file's name was checked above
        problem = "no file can have this path"
    else:
        return parse_profile(content, name)
    raise ConfigurationError(f"{name}: cannot be read: {problem}")


def parse_profile(content: bytes, file_name: str) -> Profile:
    """Read a profile from a TOML file's content; see `load_profile`."""
    try:
        if len(content) > _LARGEST:
            raise InvalidInputError(f"must have at most {_LARGEST} bytes")
        if any(line.count(b".") > _MOST_DOTS for line in content.splitlines()):
            raise InvalidInputError(f"must have at most {_MOST_DOTS} dots in a line")
        return made("", Profile, tomllib.loads(content.decode()))
    except InvalidInputError as error:
        problem = str(error)
    except (ValueError, RecursionError) as error:  # a number with thousands of digits raises a ValueError too
        line = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
        problem = f"is not TOML: {line}"
    raise ConfigurationError(f"{file_name}: {problem}")


@cache
def packaged_profile(name: str) -> Profile:
    """Return one of the package's profiles.

    Raises:
        ConfigurationError: there is no profile of this name.
    """
    if name not in _packaged():
        raise ConfigurationError(f"there is no profile of this name; known are {', '.join(profiles())}")
    return parse_profile(_packaged()[name], f"{name}.toml")


def as_profile(value: str | PathLike[str] | Profile) -> Profile:
    """Return a profile: the given one, the package's profile of the given name, or the host's own in the given file.

    A text is always taken as a name, so that an unknown name never makes the vault read a file.
    """
    if isinstance(value, Profile):
        return value
    name = plain_text(value)
    return load_profile(value) if name is None else packaged_profile(name)


@cache
def _packaged() -> dict[str, bytes]:
    return dict(_contents())


@cache
def _names_of_keys() -> frozenset[str]:
    return frozenset(file.name.removesuffix(_SUFFIX) for file in _in_folder("files", "keys"))


def _contents() -> Iterator[tuple[str, bytes]]:
    for file in (*_in_folder("files"), *_in_folder("files", "keys")):
        yield file.name.removesuffix(_SUFFIX), file.read_bytes()


def _in_folder(*path: str) -> list[Traversable]:
    return [file for file in files(_FILES).joinpath(*path).iterdir() if file.name.endswith(_SUFFIX)]
