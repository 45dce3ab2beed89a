"""Django's settings for the server, made from the options that a test chose."""

import json
import sys
from pathlib import Path
from typing import Any, Final

from attrs import frozen

DATABASE_NAME: Final = "oauth.sqlite3"
_APPS: Final = ("django.contrib.contenttypes", "django.contrib.auth", "oauth2_provider")


@frozen
class Options:
    """What `start_oauth_server` was asked for."""

    rotation: bool
    grace_seconds: int
    access_token_seconds: int
    latency_seconds: float
    client_secret: str


def options_from(text: str) -> Options:
    """Read the options from the command line's JSON."""
    return Options(**json.loads(text))


def settings_for(options: Options, directory: Path) -> dict[str, Any]:
    """Return what `django.conf.settings.configure` takes."""
    return {
        "SECRET_KEY": "only for tests",
        "ALLOWED_HOSTS": ["127.0.0.1"],
        "INSTALLED_APPS": list(_APPS),
        # Create the tables from the models, because running all migrations takes a second longer.
        "MIGRATION_MODULES": {name.rsplit(".", 1)[-1]: None for name in _APPS},
        "ROOT_URLCONF": f"{__package__}.urls",
        "USE_TZ": True,
        "LOGGING_CONFIG": None,
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "DATABASES": {"default": _database(directory / DATABASE_NAME)},
        "OAUTH2_PROVIDER": _provider(options),
    }


def _database(path: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        # Keep each thread's connection open; the server has a thread per client connection.
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
        },
    }


def _provider(options: Options) -> dict[str, Any]:
    return {
        "ACCESS_TOKEN_EXPIRE_SECONDS": options.access_token_seconds,
        "ROTATE_REFRESH_TOKEN": options.rotation,
        "REFRESH_TOKEN_REUSE_PROTECTION": options.rotation,
        "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": options.grace_seconds,
        "SCOPES": {"read": "Read", "write": "Write"},
    }


def read_arguments() -> tuple[Path, Options]:
    """Return the working directory and the options from this process's command line."""
    return Path(sys.argv[1]), options_from(sys.argv[2])
