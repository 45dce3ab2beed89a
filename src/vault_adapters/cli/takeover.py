"""Opens what another system keeps for `import --from`: its tables or files, and the key that decrypts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

from attrs import evolve, frozen

from vault_adapters.cli.dumps import read_key
from vault_adapters.cli.taken_client import account_of
from vault_adapters.crypto.nango import NangoReader
from vault_adapters.importing.formats import TOKENS
from vault_adapters.importing.reading import read_rows
from vault_adapters.importing.records import Record
from vault_adapters.importing.systems import allauth, mcp, nango, slack, social_django
from vault_adapters.importing.systems.tables import Tables, is_url, open_tables
from vault_adapters.providers.profiles import Profile, as_profile, profiles
from vault_domain import ImportedToken, ImportFailure, InvalidInputError
from vault_domain.entities.extra import as_extra

System = Literal["allauth", "mcp", "nango", "slack", "social-django"]
SYSTEMS = get_args(System)

_Records = Iterator[Record | ImportFailure]
_PIECE = 1024 * 1024
_SQLITE = b"SQLite format 3\0"


@frozen
class Choice:
    """What the user has chosen.

    Attributes:
        system: the name of the system.
        tenant: the tenant that all accounts shall belong to; None: as the system's reader says.
        renames: the new names of providers, by their names there.
        only: the app or the environment to read; None: there is only one.
        key_file: the file with the key that decrypts, or None.
        server: the URL of the MCP server, for ``mcp``.
        private: whether this server may have a private address.
    """

    system: str
    tenant: str | None = None
    renames: Mapping[str, str] = {}
    only: str | None = None
    key_file: str | None = None
    server: str | None = None
    private: bool = False


class Taken:
    """The tokens of another system, opened.

    Attributes:
        size: number of rows, or a little more.
        position: number of rows read so far.
    """

    source = None

    def __init__(self, records: _Records, size: int, choice: Choice) -> None:
        self._records = records
        self._choice = choice
        self.size = size
        self.position = 0

    def rows(self) -> AsyncIterator[ImportedToken | ImportFailure]:
        """Read the rows."""
        return read_rows(self._renamed(), TOKENS)

    def _renamed(self) -> _Records:
        last: int | None = None
        for record in self._records:
            if record.line != last:
                self.position, last = self.position + 1, record.line
            yield record if isinstance(record, ImportFailure) else self._placed(record)

    def _placed(self, record: Record) -> Record:
        values = dict(record.values)
        if self._choice.tenant is not None:
            values["tenant_id"] = self._choice.tenant
        provider = values.get("provider")
        if isinstance(provider, str):
            values["provider"] = self._choice.renames.get(provider, provider)
        return evolve(record, values={name: value for name, value in values.items() if value is not None})


class Sieve:
    """Leaves out the extra members that decide a domain or begin with ``mcp_``; the importing system chose them.

    Args:
        known: the refreshers at hand, by provider; their profiles, or else the package's, say which may be kept.

    Attributes:
        left_out: number of extra members that were left out.
    """

    def __init__(self, known: Mapping[str, object]) -> None:
        self._known = known
        self.left_out = 0

    def passed(self, token: ImportedToken) -> ImportedToken:
        """Return a token with the members that may be kept."""
        if not token.extra:
            return token
        provider = token.key.provider
        profile = getattr(self._known.get(provider), "profile", None)
        if profile is None and provider in profiles():
            profile = as_profile(provider)
        kept = {
            name: text
            for name, text in token.extra.items()
            if not name.startswith("mcp_") and (not isinstance(profile, Profile) or profile.admits(name, text))
        }
        if len(kept) == len(token.extra):
            return token
        self.left_out += len(token.extra) - len(kept)
        return evolve(token, extra=as_extra(kept).of_type(token.extra.token_type).proved_by(token.extra.proof_key))


def as_renames(pairs: Sequence[str]) -> dict[str, str]:
    """Return the new names of providers by the old ones, from texts like ``google-oauth2=google``."""
    parted = [pair.rpartition("=") for pair in pairs]
    if not all(old and new for old, _, new in parted):
        raise InvalidInputError("--rename must be like google-oauth2=google")
    return {old: new for old, _, new in parted}


@contextmanager
def open_system(place: str, choice: Choice) -> Iterator[Taken]:
    """Open a system's files, or its tables in a SQLite file or at a Postgres URL, for reading only.

    Raises:
        InvalidInputError: there is nothing that the system's reader reads; the message does not repeat ``place``.
        ConfigurationError: the key is malformed, or psycopg is not installed.
    """
    if choice.only is not None and choice.system not in ("nango", "slack"):
        raise InvalidInputError("--only goes with --from slack and --from nango")
    if choice.key_file is not None and choice.system != "nango":
        raise InvalidInputError("--key-file goes with --from nango and --format fernet")
    if (choice.system == "mcp") is not (choice.server is not None) or (choice.private and choice.server is None):
        raise InvalidInputError("--from mcp needs --server, and only it takes --server and --private-addresses")
    if place.startswith("-"):
        raise InvalidInputError("there is no such option; see `token-vault import --help`")
    if choice.system == "mcp":
        yield Taken(_of_server(place, choice), 1, choice)
    elif choice.system == "slack" and Path(place).is_dir():
        _refuse_choices_of_tables(choice)
        files = slack.files_of(Path(place))
        if not files:
            raise InvalidInputError("the folder holds no installations")
        yield Taken(slack.read_files(files), len(files), choice)
    elif choice.system == "nango" and not (is_url(place) or _is_sqlite(place)):
        _refuse_choices_of_tables(choice)
        with _opened(place).open("rb") as stream:
            lines = sum(piece.count(b"\n") for piece in iter(lambda: stream.read(_PIECE), b"")) + 1
            stream.seek(0)
            yield Taken(nango.read_export(stream), lines, choice)
    else:
        if not (is_url(place) or _is_sqlite(place)):
            raise InvalidInputError("this is neither a SQLite file nor the URL of a Postgres database")
        count, read = _reader(choice)
        with open_tables(place) as tables:
            yield Taken(read(tables, choice.only), count(tables), choice)


def _refuse_choices_of_tables(choice: Choice) -> None:
    """Refuse what files cannot obey: whoever names one environment must not get all of them."""
    if choice.only is not None or choice.key_file is not None:
        raise InvalidInputError("--only and --key-file go with tables; what files hold is of one app, and in clear")


def _of_server(place: str, choice: Choice) -> _Records:
    """Return the tokens of an MCP server, which is asked for its endpoints."""
    if choice.tenant is None:
        raise InvalidInputError("--from mcp needs --tenant")
    url = str(choice.server)
    stored = mcp.find(Path(place), url)
    if stored is None:
        raise InvalidInputError("the files hold no tokens of this server")
    provider, identifier, extra = asyncio.run(account_of(url, stored, private=choice.private))
    return mcp.read(stored, {"provider": provider, "identifier": identifier}, extra)


def _reader(choice: Choice) -> tuple[Callable[[Tables], int], Callable[[Tables, str | None], _Records]]:
    if choice.system == "allauth":
        return allauth.count, allauth.read
    if choice.system == "social-django":
        return social_django.count, social_django.read
    if choice.system == "slack":
        return slack.count, slack.read
    opened = None if choice.key_file is None else NangoReader(read_key(choice.key_file, "--key-file")).read
    return nango.count, nango.reader(opened)


def _is_sqlite(place: str) -> bool:
    with _opened(place).open("rb") as stream:
        return stream.read(len(_SQLITE)) == _SQLITE


def _opened(place: str) -> Path:
    """Return the path of a file that can be read."""
    path = Path(place)
    try:
        with path.open("rb"):
            return path
    except (OSError, ValueError):  # drop the error, because it names the path
        pass
    raise InvalidInputError("the files of the other system cannot be read")
