"""`token-vault import` and `export`, as a process, over both stores."""

import csv
import io
import json
import signal
import subprocess
import sys
import time

import pytest
from cryptography.fernet import Fernet
from tests.adapters.cli.command import PROGRAM, CommandLine, clean_environment
from tests.adapters.importing.conftest import OLD_SECRET, json_lines, original_row, plain_row
from tests.support.databases import both_stores

from vault_adapters import open_vault
from vault_domain import TokenKey

CANARY = "canary-7f3a9c"
ORIGINAL = ("--format", "original", "--secret-file", "old-secret")


"""For tests that do not depend on the kind of database."""


def counts(done):
    found = json.loads(done.stdout)
    return tuple(found[name] for name in ("imported", "replaced", "skipped", "failed"))


async def value_of(database, identifier=None, tenant="t1", kind="refresh_token"):
    async with open_vault(database.config()) as vault:
        token = await vault.get_token(TokenKey(tenant, "google", kind, identifier))
        return None if token is None else token.value.reveal()


async def test_an_unknown_column_brings_the_names_of_the_known_ones_once(token_vault, database):
    rows = [{**plain_row("ann", "v"), "token_type": "api_key"}] * 3
    (token_vault.folder / "dump.jsonl").write_bytes(json_lines(*rows))
    done = token_vault("import", "--format", "tokens", "dump.jsonl", "--json")
    assert (done.code, counts(done)) == (13, (0, 0, 0, 3))
    (told,) = done.stderr.splitlines()[3:]
    assert told == (
        "token-vault: the columns of --format tokens are tenant_id, provider, identifier, kind, value, expires_at,"
        " last_used_at, last_refreshed_at, created_at, updated_at, scopes, status, error_code, extra, extra_type"
    )


LASTING = """
from vault_adapters.testing import ScriptedRefresher

class Lasting(ScriptedRefresher):
    default_lifetime = timedelta(hours=2)

refreshers = {"google": Lasting()}
"""


@pytest.mark.parametrize("named", [True, False])
async def test_the_refreshers_tell_how_long_a_token_lives(token_vault, database, named):
    (token_vault.folder / "lasting_host.py").write_text("from datetime import timedelta\n" + LASTING)
    place = ("--refreshers", "lasting_host:refreshers") if named else ()
    dump = "".join(
        json.dumps({**plain_row("ann", "v"), "kind": f"{kind}_token"}) + "\n" for kind in ("access", "refresh")
    )
    assert token_vault("import", "--format", "tokens", "-", *place, stdin=dump).code == 0
    for kind in ("refresh_token", "access_token"):
        assert token_vault("store", "t2", "google", kind, *place, stdin="v").code == 0
    rows = [json.loads(line) for line in token_vault("export", "--all").out.splitlines()]
    rows = [row for row in rows if row["kind"] == "access_token"]
    assert [row["expires_at"] is not None for row in rows] == [named, named]


@both_stores
async def test_the_original_table(token_vault, database):
    rows = [
        original_row("first", updated_at="2024-05-02 12:00:00+00"),
        original_row("older", updated_at="2024-05-01 12:00:00+00"),
        original_row("expired", token_type="access_token", is_valid=False, last_error="Token expired"),
        original_row("revoked", token_type="api_key", is_valid=False, last_error=f"{CANARY} revoked"),
        original_row("unchecked", token_type="webhook_secret", is_valid="unknown"),
        original_row("foreign", identifier="x", secret="another secret that is long enough too"),
        {**original_row("broken", identifier="y"), "encrypted_value": CANARY},
    ]
    (token_vault.folder / "dump.jsonl").write_bytes(json_lines(*rows))
    done = token_vault("import", *ORIGINAL, "dump.jsonl", "--json")

    assert done.code == 13
    assert counts(done) == (4, 0, 1, 2)
    assert json.loads(done.stdout)["failures"] == [{"line": line, "code": "unreadable_value"} for line in (6, 7)]
    assert done.stderr == "token-vault: line 6: unreadable_value\ntoken-vault: line 7: unreadable_value\n"
    assert await value_of(database) == "first"
    exported = {row["kind"]: row for row in map(json.loads, token_vault("export", "t1").out.splitlines())}
    assert exported["access_token"]["status"] == "valid"
    assert (exported["api_key"]["status"], exported["api_key"]["error_code"]) == ("invalid", "imported")
    assert exported["webhook_secret"]["status"] == "unknown"
    assert exported["refresh_token"]["created_at"] == "2024-04-01T12:00:00.000000Z"

    again = token_vault("import", *ORIGINAL, "dump.jsonl", "--json")
    assert (again.code, counts(again)) == (13, (0, 0, 5, 2))


def test_the_original_table_as_csv_from_standard_input(token_vault):
    rows = [
        original_row("v"),
        original_row("w", identifier="x", last_error='two\nlines, and a "quote"', is_valid=False),
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows({**row, "is_valid": "t" if row["is_valid"] else "f"} for row in rows)
    done = token_vault("import", *ORIGINAL, "-", "--json", stdin=b"\xef\xbb\xbf" + text.getvalue().encode())
    assert (done.code, counts(done), done.stderr) == (0, (2, 0, 0, 0), "")


async def test_members_that_decide_where_secrets_go_are_left_out_unless_asked(token_vault, database):
    members = {"instance": "evil.example", "mcp_token_url": "https://evil.example", "other": "kept"}
    rows = json_lines(plain_row("ann", "a", provider="gitlab", kind="access_token", extra=members))
    for options, left_out, kept in (((), 2, {"other"}), (("--all-members", "--overwrite"), 0, set(members))):
        done = token_vault("import", "--format", "tokens", "-", "--json", *options, stdin=rows)
        assert (done.code, json.loads(done.stdout)["members_left_out"]) == (0, left_out)
        assert (f"{left_out} extra members left out" in done.stderr) == bool(left_out)
        async with open_vault(database.config()) as vault:
            token = await vault.get_token(TokenKey("t1", "gitlab", "access_token", "ann"))
        assert set(token.extra) == kept


async def test_a_fernet_column(token_vault, database):
    keys = [Fernet.generate_key() for _ in range(2)]
    (token_vault.folder / "keys").write_bytes(b"\n".join(keys) + b"\n")
    rows = [
        {"tenant_id": 1, "provider": "google", "kind": "refresh_token", "identifier": str(number)}
        | {"encrypted_value": Fernet(key).encrypt(b"value").decode()}
        for number, key in enumerate([*keys, Fernet.generate_key()])
    ]
    done = token_vault("import", "--format", "fernet", "--key-file", "keys", "-", "--json", stdin=json_lines(*rows))
    assert (done.code, counts(done)) == (13, (2, 0, 0, 1))
    assert await value_of(database, "1", tenant="1") == "value"


@both_stores
async def test_a_rerun_does_not_replace_what_was_rotated(token_vault, database):
    dump = json_lines(plain_row("a", "old"), plain_row("b", "old"))
    assert counts(token_vault("import", "--format", "tokens", "-", "--json", stdin=dump)) == (2, 0, 0, 0)
    assert token_vault("store", "t1", "google", "refresh_token", "--identifier", "a", stdin="rotated").code == 0
    assert counts(token_vault("import", "--format", "tokens", "-", "--json", stdin=dump)) == (0, 0, 2, 0)
    assert await value_of(database, "a") == "rotated"

    dry = token_vault("import", "--format", "tokens", "-", "--json", "--overwrite", "--dry-run", stdin=dump)
    assert (counts(dry), await value_of(database, "a")) == ((0, 2, 0, 0), "rotated")
    assert counts(token_vault("import", "--format", "tokens", "-", "--json", "--overwrite", stdin=dump)) == (0, 2, 0, 0)
    assert await value_of(database, "a") == "old"


def hostile_lines():
    """Return invalid lines, each with the canary, which no output may repeat."""
    good = plain_row("good", "fine")
    return [
        b'{"tenant_id": "%b", "provider": ' % CANARY.encode(),
        json.dumps({**good, "kind": CANARY}).encode(),
        json.dumps({**good, "value": CANARY * 6000}).encode(),
        json.dumps({**good, "expires_at": CANARY}).encode(),
        json.dumps({**good, CANARY: 1}).encode(),
        json.dumps({**good, "status": CANARY}).encode(),
        json.dumps({**good, "error_code": CANARY, "status": "invalid"}).encode(),
        json.dumps({**good, "tenant_id": CANARY * 99}).encode(),
        b"\xff" + CANARY.encode(),
        b"\x00" + CANARY.encode(),
        CANARY.encode() * 800_000,
        b'"' + CANARY.encode(),
    ]


async def test_a_hostile_dump(token_vault, database):
    good = json_lines(plain_row("good", "fine"))
    bad = hostile_lines()
    dump = b"\xef\xbb\xbf" + b"\r\n".join([*bad, good.strip()]) + b"\r\n\r\n"
    done = token_vault("import", "--format", "tokens", "-", "--json", stdin=dump)
    assert (done.code, counts(done)) == (13, (1, 0, 0, len(bad)))
    assert [failure["line"] for failure in json.loads(done.stdout)["failures"]] == list(range(1, len(bad) + 1))
    assert CANARY not in done.out + done.stderr
    assert await value_of(database, "good") == "fine"
    (token_vault.folder / "dump").write_bytes(dump)
    assert CANARY not in token_vault.on_terminal("import", "--format", "tokens", "dump").out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--format", CANARY, "dump"),
        ("--format", "tokens", CANARY),
        ("--format", "tokens", f"--{CANARY}"),
        ("--format", "tokens", "dump", CANARY),
        ("--format", "tokens", "--secret-file", CANARY, "dump"),
        ("--format", "original", "--secret-file", CANARY, "dump"),
        ("--format", "original", "dump"),
        ("--format", "original", "--key-file", CANARY, "dump"),
        ("--format", "fernet", "dump"),
        ("--format", "fernet", "--key-file", CANARY, "dump"),
        ("--format", "tokens", "."),
    ],
)
def test_wrong_arguments_are_not_repeated(tmp_path, arguments):

    (tmp_path / "dump").write_bytes(b"")
    done = CommandLine(tmp_path)("import", *arguments)
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.startswith("token-vault: ")
    assert done.stderr.count("\n") == 1
    assert CANARY not in done.stderr


@pytest.mark.parametrize("keys", [b"", b"\n\n", CANARY.encode(), b"\xff" * 44, b"x" * 70_000])
def test_wrong_keys_are_not_repeated(tmp_path, keys):

    (tmp_path / "keys").write_bytes(keys)
    (tmp_path / "dump").write_bytes(b"")
    done = CommandLine(tmp_path)("import", "--format", "fernet", "--key-file", "keys", "dump")
    assert (done.code, done.stderr.count("\n")) == (3, 1)
    assert CANARY not in done.stderr


def _kill_midway(token_vault, arguments, database):
    running = subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=token_vault.folder,
        env=token_vault.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while database.execute("SELECT count(*) FROM {token}")[0][0] < 1000 and time.monotonic() < end:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()


@both_stores
@pytest.mark.real_scrypt
async def test_killed_and_run_again(token_vault, database):
    def value(number):
        return f"{number}-" + "x" * 200

    days = [plain_row("twice", f"day {day}", updated_at=f"2024-05-{day:02} 12:00:00+00") for day in (1, 2)]
    rows = [plain_row(str(number), value(number)) for number in range(12_000)]
    (token_vault.folder / "dump").write_bytes(json_lines(days[0], *rows, days[1]))
    arguments = ("import", "--format", "tokens", "dump", "--json")
    _kill_midway(token_vault, arguments, database)
    [(before,)] = database.execute("SELECT count(*) FROM {token}")
    assert 1000 <= before < 12_000
    assert await value_of(database, "twice") == "day 1"

    done = token_vault(*arguments)
    assert (done.code, counts(done)) == (0, (12_001 - before, 0, before + 1, 0))
    assert database.execute("SELECT count(*) FROM {token}") == [(12_001,)]
    assert database.execute("SELECT count(*) FROM {audit_event} WHERE action = 'token_imported'") == [(12_002,)]
    assert await value_of(database, "twice") == "day 2"
    assert await value_of(database, "11999") == value(11_999)


def test_memory_is_bounded(tmp_path):
    """Importing a dump of about 70 MB, with some lines that are too long, takes less than 40 MB of memory."""
    code = """
import asyncio, io, json, resource, sys
from vault_adapters.importing.formats import TOKENS
from vault_adapters.importing.reading import open_plain, read_dump
from vault_adapters.testing import memory_vault

class Dump(io.RawIOBase):
    def __init__(self):
        self.rows, self.rest = rows(), b""
    def readable(self):
        return True
    def readinto(self, buffer):
        self.rest = self.rest or next(self.rows, b"")
        piece = self.rest[: len(buffer)]
        self.rest = self.rest[len(piece):]
        buffer[: len(piece)] = piece
        return len(piece)

def rows():
    row = {"tenant_id": "t", "provider": "p", "kind": "api_key", "value": "x" * 2000}
    for number in range(20_000):
        yield json.dumps({**row, "identifier": str(number % 50)}).encode() + b"\\n"
        if number % 2000 == 0:
            yield b"y" * 3_000_000 + b"\\n"

async def main():
    async with memory_vault() as vault:
        await vault.import_tokens([])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report = await vault.import_tokens(read_dump(io.BufferedReader(Dump()), TOKENS, open_plain))
        assert (report.imported, report.skipped, report.failed) == (50, 19_950, 10), report
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40_000


def test_a_bar_on_a_terminal_only(token_vault):
    (token_vault.folder / "dump").write_bytes(json_lines(*(plain_row(str(n), "v") for n in range(3000)), b"bad\n"))
    shown = token_vault.on_terminal("import", "--format", "tokens", "dump", "--dry-run").out
    assert "importing" in shown
    assert "line 3001: not_json" in shown
    assert "nothing was written" in shown
    piped = token_vault("import", "--format", "tokens", "dump", "--dry-run", FORCE_COLOR="1", TERM="xterm")
    assert piped.stderr == "token-vault: line 3001: not_json\n"


def test_export_never_holds_a_value(token_vault):
    rows = [plain_row("a", CANARY, scopes=["x", "y"]), {**plain_row(None, CANARY), "provider": "other"}]
    token_vault("import", "--format", "tokens", "-", stdin=json_lines(*rows))
    lines = [json.loads(line) for line in token_vault("export", "t1").out.splitlines()]
    table = list(csv.DictReader(io.StringIO(token_vault("export", "t1", "--format", "csv").out)))
    assert [row["provider"] for row in lines] == [row["provider"] for row in table] == ["google", "other"]
    assert list(table[0]) == list(lines[0])
    assert (lines[0]["scopes"], table[0]["scopes"], table[1]["identifier"]) == (["x", "y"], "x y", "")
    assert CANARY not in json.dumps(lines) + json.dumps(table)
    assert token_vault("export", "t1", "--provider", "other").out.count("\n") == 1
    assert token_vault("export", "nobody").out == ""
    assert token_vault("export", "nobody", "--format", "csv").out.startswith("tenant_id,")


async def test_exported_control_characters_come_back(token_vault, database):
    names = ["\x1b[31mred", "\\x1b", "a\r\nb", "a\rb", "\n", "\x07\x7f\x9b", "\u202eabc", "\t\x1b", "'\x1b"]
    token_vault("import", "--format", "tokens", "-", stdin=json_lines(*(plain_row(name, "v") for name in names)))
    table = list(csv.DictReader(io.StringIO(token_vault("export", "t1", "--format", "csv").out, newline="")))
    text = io.StringIO(newline="")
    columns = ("tenant_id", "provider", "kind", "identifier")
    copy = csv.DictWriter(text, (*columns, "value"))
    copy.writeheader()
    copy.writerows({**{name: row[name] for name in columns}, "value": "again"} for row in table)
    done = token_vault("import", "--format", "tokens", "--overwrite", "-", "--json", stdin=text.getvalue())
    assert counts(done) == (0, len(names), 0, 0)
    assert [await value_of(database, name) for name in names] == ["again"] * len(names)
    lines = token_vault("export", "t1").out
    assert lines.isascii()
    assert {mark for mark in lines if not mark.isprintable()} == {"\n"}


async def test_export_keeps_formulas_out_of_spreadsheets_and_import_reads_them_back(token_vault, database):
    names = ["=cmd|' /C calc'!A0", "+972501234567", "@x", "-1", "'=1", "'a", "\t=1", 'plain, "quoted"']
    rows = [plain_row(name, f"={name}", scopes=["=a", "b"]) for name in names]
    token_vault("import", "--format", "tokens", "-", stdin=json_lines(*rows))
    table = list(csv.DictReader(io.StringIO(token_vault("export", "t1", "--format", "csv").out, newline="")))
    assert {row["identifier"] for row in table} == {
        *("'=cmd|' /C calc'!A0", "'+972501234567", "'@x", "'-1", "''=1", "'a", "'\t=1", 'plain, "quoted"')
    }
    assert {row["scopes"] for row in table} == {"'=a b"}
    exported = {json.loads(line)["identifier"] for line in token_vault("export", "t1").out.splitlines()}
    assert exported == set(names)
    raw = csv.DictReader(io.StringIO(token_vault("export", "t1", "--format", "csv", "--raw").out, newline=""))
    assert {(row["identifier"], row["scopes"]) for row in raw} == {(name, "=a b") for name in names}
    refused = token_vault("export", "t1", "--raw")
    assert (refused.code, "--raw goes with --format csv only" in refused.stderr) == (2, True)

    text = io.StringIO(newline="")
    columns = ("tenant_id", "provider", "kind", "identifier", "scopes")
    copy = csv.DictWriter(text, (*columns, "value"))
    copy.writeheader()
    copy.writerows({**{name: row[name] for name in columns}, "value": "'=v"} for row in table)
    done = token_vault("import", "--format", "tokens", "--overwrite", "-", "--json", stdin=text.getvalue())
    assert counts(done) == (0, len(names), 0, 0)
    for name in names:
        assert await value_of(database, name) == "'=v"
    async with open_vault(database.config()) as vault:
        assert {info.scopes async for info in vault.iter_tokens("t1")} == {("=a", "b")}


async def test_apostrophes_of_other_dumps_stay(token_vault, database):
    header = "tenant_id,provider,token_type,identifier,encrypted_value,is_valid\n"
    row = f"t1,google,refresh_token,'=1,{original_row('v')['encrypted_value']},true\n"
    token_vault("import", *ORIGINAL, "-", stdin=header + row)
    assert await value_of(database, "'=1") == "v"
    token_vault("import", "--format", "tokens", "-", stdin=json_lines(plain_row("'=2", "v")))
    assert await value_of(database, "'=2") == "v"


def test_an_export_does_not_control_the_terminal(token_vault):
    evil = "\x1b]0;title\x07\x9b2J\u202e\nrow"
    token_vault("import", "--format", "tokens", "-", stdin=json_lines(plain_row(evil, "v")))
    shown = token_vault.on_terminal("export", "t1", "--format", "csv").out
    assert {"\x1b", "\x07", "\x9b", "\u202e"}.isdisjoint(shown)
    assert r"\x1b]0;title\x07\x9b2J\u202e\nrow" in shown
    assert "\x1b" not in token_vault.on_terminal("export", "t1").out
    [row] = csv.DictReader(io.StringIO(token_vault("export", "t1", "--format", "csv").out, newline=""))
    assert row["identifier"] == evil


def test_a_data_key_that_was_tampered_with_fails_its_tenant_only(token_vault, database):
    rows = [plain_row("a", "v"), {**plain_row("b", "v"), "tenant_id": "t2"}]
    token_vault("import", "--format", "tokens", "-", stdin=json_lines(*rows))
    if database.kind == "sqlite":
        database.execute("UPDATE {data_key_wrap} SET wrapped = zeroblob(160) WHERE tenant_id = 't1'")
    else:
        database.execute("UPDATE {data_key_wrap} SET wrapped = decode(repeat('00', 160), 'hex') WHERE tenant_id = 't1'")
    rows = [plain_row("c", "v"), {**plain_row("d", "v"), "tenant_id": "t2"}]
    done = token_vault("import", "--format", "tokens", "-", "--json", stdin=json_lines(*rows))
    assert (done.code, counts(done)) == (13, (1, 0, 0, 1))
    assert json.loads(done.stdout)["failures"] == [{"line": 1, "code": "data_key_unreadable"}]
    assert done.stderr.endswith("\ntoken-vault: line 1: data_key_unreadable\n")
    broken = [json_lines({}), *[json_lines(plain_row(f"e{number}", "v")) for number in range(1001)]]
    done = token_vault("import", "--format", "tokens", "-", stdin=b"".join(broken))
    lines = [line for line in done.stderr.splitlines() if "cannot be used" not in line]
    assert (done.code, len(lines), lines[1]) == (13, 1001, "token-vault: line 2: data_key_unreadable")
    assert lines[0].startswith("token-vault: line 1: missing_")
    assert lines[-1] == "token-vault: 2 more rows: data_key_unreadable"


def test_the_old_secret_keeps_all_but_one_line_end(token_vault):
    (token_vault.folder / "other").write_bytes(OLD_SECRET.encode() + b"\n\r\n")
    row = json_lines(original_row("v", secret=OLD_SECRET + "\n"))
    done = token_vault("import", "--format", "original", "--secret-file", "other", "-", "--json", stdin=row)
    assert counts(done) == (1, 0, 0, 0)


def test_the_schema_is_left_alone(tmp_path):

    variables = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/vault.db",
        "ENCRYPTION_SECRET": "a secret of the import tests, 0123",
    }
    done = CommandLine(tmp_path, variables)("import", "--format", "tokens", "-")
    assert done.code == 3


CSV_HEADER = "tenant_id,provider,kind,identifier,value,scopes\n"


def test_an_identifier_that_may_mean_nothing_is_not_guessed_at(token_vault):
    rows = "t1,google,api_key,null,v1,\nt1,google,api_key,\\N,v2,\nNULL,google,api_key,a,v3,\nt1,google,api_key,,v4,\n"
    done = token_vault("import", "--format", "tokens", "-", "--json", stdin=CSV_HEADER + rows)
    assert done.code == 13
    codes = [(failure["line"], failure["code"]) for failure in json.loads(done.out)["failures"]]
    assert codes == [(2, "ambiguous_identifier"), (3, "ambiguous_identifier"), (4, "ambiguous_tenant_id")]
    assert token_vault("get", "t1", "google", "api_key", "--reveal").stdout == b"v4"


@pytest.mark.parametrize(
    ("written", "scopes"),
    [
        ('"{openid,email}"', ["openid", "email"]),
        ("{}", []),
        ('"{""a:b"",c}"', ["a:b", "c"]),
        ("openid email", ["openid", "email"]),
    ],
)
def test_scopes_as_databases_print_them(token_vault, written, scopes):
    dump = f"{CSV_HEADER}t1,google,api_key,,v,{written}\n"
    assert token_vault("import", "--format", "tokens", "-", stdin=dump).code == 0
    [token] = json.loads(token_vault("list", "t1", "--json").out)
    assert token["scopes"] == scopes


def test_scopes_that_are_no_list_are_refused(token_vault):
    dump = json_lines(plain_row("a", "v", scopes={"a": 1}), plain_row("b", "v", scopes="{a,{b}}"))
    done = token_vault("import", "--format", "tokens", "-", "--json", stdin=dump)
    assert [failure["code"] for failure in json.loads(done.out)["failures"]] == ["invalid_scopes"]


def test_a_mark_at_the_beginning_does_not_lengthen_a_line(token_vault):
    first = b"\xef\xbb\xbf" + json_lines(plain_row("a", "v"))[:-1]
    first += b" " * (2 * 1024 * 1024 + 1 - len(first))
    dump = first + json_lines(plain_row("smuggled", "v"), plain_row("b", "v"))
    done = token_vault("import", "--format", "tokens", "-", "--json", stdin=dump)
    report = json.loads(done.out)
    assert (report["imported"], report["failures"]) == (1, [{"line": 1, "code": "line_too_long"}])
