"""A secret in the wrong place is refused without being repeated, and errors are one line."""

import pytest

CANARY = "sk-canary-7f3a9c"
KEY = ("t1", "google", "api_key")

WRONG = [
    (CANARY,),
    (f"--{CANARY}",),
    ("store", *KEY, CANARY),
    ("store", *KEY, f"--{CANARY}"),
    ("store", *KEY, f"-{CANARY}"),
    ("store", *KEY, "--value", CANARY),
    ("store", *KEY, f"--value={CANARY}"),
    ("store", "t1", "google", CANARY),
    ("store", "t1", CANARY.upper(), "api_key"),
    ("store", CANARY * 30, "google", "api_key"),
    ("store", *KEY, "--expires-in", CANARY),
    ("store", *KEY, "--expires-at", CANARY),
    ("store", *KEY, "--expires-at", f"2030-01-01T00:00:00{CANARY}"),
    ("store", *KEY, "--expires-in", "1h", "--expires-at", CANARY),
    ("store", *KEY, "--expected-generation", CANARY),
    ("store", *KEY, "--expected-generation", "-1"),
    ("store", *KEY, "--scope", f'"{CANARY}"'),
    ("store", *KEY, "--identifier", "a", "--identifier", CANARY),
    ("store", *KEY, "--identifier", CANARY * 30),
    ("store", *KEY, f"--json={CANARY}"),
    ("get", *KEY, CANARY),
    ("get", *KEY, f"--reveal={CANARY}"),
    ("list", "t1", CANARY),
    ("list", "t1", "--provider", CANARY.upper()),
    ("accounts", "t1", "--state", CANARY),
    ("health", CANARY),
    ("health", "--tenant", CANARY * 30),
    ("expiring", "--within", CANARY),
    ("expiring", "--within", ""),
    ("expiring", "--limit", CANARY),
    ("expiring", "--limit", "0"),
    ("delete", *KEY, CANARY),
    ("delete-provider", "t1", CANARY.upper()),
    ("audit", "--after", CANARY),
    ("audit", "--limit", CANARY),
    ("audit", "--limit", "0"),
    ("generate-secret", CANARY),
    ("demo", CANARY),
    ("demo", "--directory", f"missing/{CANARY}"),
    ("store",),
    ("store", "t1"),
    ("store", *KEY, "--identifier"),
]


@pytest.mark.parametrize("command", [("token", "t1", "google"), ("dashboard", "--port", "99999"), ("doctor",)], ids=str)
def test_an_empty_name_of_refreshers_is_no_name(token_vault, command):
    done = token_vault(*command, "--refreshers", "")
    assert (done.code, "--refreshers must be" in done.stderr) == (2, True)


@pytest.mark.parametrize("arguments", WRONG, ids=lambda arguments: " ".join(arguments)[:60])
def test_wrong_arguments_are_not_repeated(token_vault, arguments):
    done = token_vault(*arguments, stdin="a value")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.startswith("token-vault: ")
    assert done.stderr.count("\n") == 1
    assert CANARY not in done.stderr.lower()


def test_an_error_code_is_no_free_text(token_vault):
    token_vault("store", *KEY, stdin="v")
    done = token_vault("invalidate", *KEY, "--error-code", f"Bearer {CANARY}")
    assert done.code == 2
    assert CANARY not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("heath",), "did you mean health?"),
        (("store", *KEY, "--expire-in", "1h"), "did you mean --expires-in?"),
        (("store", "t1", "google"), "KIND is missing"),
        (("store", "t1", "google", "password"), "KIND must be one of access_token, refresh_token, api_key"),
        (("store", *KEY, "--expected-generation", "one"), "--expected-generation must be a whole number"),
        (("store", *KEY, "--identifier"), "--identifier needs a value"),
        (("store", *KEY, "extra"), "from standard input, never from an argument"),
        (("accounts", "t1", "--state", "gone"), "--state must be one of connected, retrying, reauthorization_required"),
        (("expiring", "--within", "1 hour"), "--within must be a duration such as 90s"),
        (("store", "t1", "google"), "see `token-vault store --help`"),
    ],
)
def test_an_error_names_the_parameter_and_the_rule(token_vault, arguments, told):
    assert told in token_vault(*arguments, stdin="v").stderr


def test_no_secret_is_taken_from_arguments(bare):
    assert "--value" not in bare("store", "--help").out


@pytest.mark.parametrize("arguments", [(), ("--help",), ("store", "--help"), ("--version",)])
def test_help_needs_no_configuration_and_is_plain_in_a_pipe(bare, arguments):
    done = bare(*arguments)
    assert (done.code, done.stderr) == (0, "")
    assert done.out.isascii()
    assert "\x1b" not in done.out
