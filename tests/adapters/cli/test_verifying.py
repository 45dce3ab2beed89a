"""`audit head` and `audit verify` from the command line."""

import json
import sqlite3
from contextlib import closing

KEY = ("t1", "acme", "api_key")


def test_a_head_is_kept_and_the_log_verified_against_it(token_vault):
    assert token_vault("store", *KEY, stdin="v").code == 0
    before = token_vault("audit", "verify")
    assert (before.code, "audit head" in before.stderr, "seal_missing" in before.out) == (15, True, True)
    lines = token_vault("audit", "head").out + token_vault("audit", "head", "--tenant", "t1").out
    assert len(lines.splitlines()) == 2
    assert token_vault("audit", "head", "--tenant", "t2").code == 4
    kept = token_vault.folder / "heads.jsonl"
    kept.write_text(lines)
    found = token_vault("audit", "verify", "--head", str(kept), "--json")
    assert (found.code, json.loads(found.out)["heads"], json.loads(found.out)["ok"]) == (0, 2, True)
    with closing(sqlite3.connect(token_vault.folder / "vault.db", isolation_level=None)) as connection:
        connection.execute("UPDATE token_vault_audit_event SET actor = 'x' WHERE tenant_id = 't1'")
    found = token_vault("audit", "verify", "--head", str(kept))
    assert found.code == 15
    assert "event_changed" in found.out
    assert "1 fault" in found.out


def test_a_file_that_holds_no_heads_is_refused_without_its_content(token_vault):
    for text in ("", "secret", "[1]", '{"seal": 1}'):
        (token_vault.folder / "heads.jsonl").write_text(text)
        refused = token_vault("audit", "verify", "--head", "heads.jsonl")
        assert refused.code == 2
        assert "secret" not in refused.stderr
    assert token_vault("audit", "verify", "--head", "missing").code == 2
