"""The recipes of a Django project run: one vault for views, tasks and events, and the project's own tests."""

import runpy
import sys
from types import ModuleType, SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.docs.test_recipes import RECIPES, environment, run

from vault_adapters import StorageError, WrongEncryptionSecretError

pytestmark = pytest.mark.pages

__all__ = ["environment"]

SETTINGS = """
import django, os, sys
from django.conf import settings
settings.configure(
    SECRET_KEY="x", INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    DATABASES={"default": %s},
)
django.setup()
import warnings
warnings.simplefilter("ignore")  # Celery's own warnings
"""
SQLITE = '{"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DJANGO_DB"]}'


@pytest.fixture
def project(environment, tmp_path):
    """Give the environment of the project; the vault finds its database by Django's settings alone."""
    del environment["DATABASE_URL"]
    return environment | {
        "DJANGO_DB": str(tmp_path / "django.db"),
        "GOOGLE_CLIENT_ID": "client",
        "GOOGLE_CLIENT_SECRET": "secret",
        "REDIRECT_URI": "https://app.example.com/connect/callback/{provider}",
        "PYTHONWARNINGS": "ignore",
    }


async def test_the_vault_is_in_djangos_database_and_an_event_uses_the_orm(project, tmp_path):
    script = (
        SETTINGS % SQLITE
        + """
from django.core.management import call_command
call_command("migrate", verbosity=0)
import django_project
from django.contrib.auth.models import User
from django.dispatch import receiver
from vault_adapters import *
from vault_adapters.testing import ScriptedRefresher
@receiver(django_project.reconnect_required)
def make_a_note(sender, account, **_):
    User.objects.create(username=account.identifier)
account = Account("1", "google", "ana")
with open_sync_vault(
    VaultConfig.from_env(django_project.variables),
    refreshers={"google": ScriptedRefresher(ReauthorizationRequiredError(reason="invalid_grant"))},
    on_event=django_project.on_event,
) as vault:
    vault.store_token_set(account, TokenSet("old", "refresh", expires_in=3600))
    try:
        vault.refresh_account(account)
    except ReauthorizationRequiredError:
        print("rejected")
print([user.username for user in User.objects.all()])
print(django_project.vault.get_account(account).state.value)
"""
    )
    assert (await run(script, project)).splitlines() == ["rejected", "['ana']", "reauthorization_required"]
    assert b"token_vault_token" in (tmp_path / "django.db").read_bytes()


async def test_the_projects_own_tests_pass_and_touch_no_database_of_the_project(project, tmp_path):
    script = (
        SETTINGS % SQLITE
        + """
os.environ["TOKEN_VAULT_DATABASE_URL"] = "sqlite:///:memory:"
from django.test.runner import DiscoverRunner
sys.exit(DiscoverRunner(verbosity=0).run_tests(["django_tests"]))
"""
    )
    await run(script, project)
    assert not (tmp_path / "django.db").exists()


async def test_tasks_call_the_api_and_sweep(project):
    script = (
        SETTINGS % SQLITE
        + """
from unittest import mock
import requests, django_project, django_tasks
from vault_adapters import *
class Api(requests.adapters.BaseAdapter):
    def send(self, request, **_):
        response = requests.Response()
        response.status_code, response.request, response.url = 200, request, request.url
        print(request.headers["authorization"])
        return response
    def close(self):
        pass
django_project.vault.store_token_set(Account("1", "google", "ana"), TokenSet("value", expires_in=3600))
with mock.patch.object(requests.Session, "get_adapter", lambda *_, **__: Api()):
    print(django_tasks.read_profile("1", "ana"))
print(django_tasks.refresh_due())
from celery import current_app
assert django_tasks.BEAT_SCHEDULE["refresh"]["task"] in current_app.tasks
from celery.signals import worker_process_shutdown
worker_process_shutdown.send(sender=None)
try:
    django_project.vault.health()
except ConfigurationError as error:
    print(error.code)
"""
    )
    assert (await run(script, project)).splitlines() == ["Bearer value", "200", "0 of 0", "vault_closed"]


async def test_djangos_password_and_search_path_reach_postgres(project, postgres):
    url = postgres.create_database("django_project")
    place = dict(parse_qsl(urlsplit(url).query))
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "django_project",
        "USER": "postgres",
        "PASSWORD": "p@ss/w#rd?%",
        "HOST": place["host"],
        "PORT": place["port"],
        "OPTIONS": {"options": "-c search_path=app,public", "pool": True},
    }
    script = (
        SETTINGS % repr(database)
        + """
import django_project
from django.db import connection
from vault_adapters import *
account = Account("1", "google", "ana")
django_project.vault.store_token_set(account, TokenSet("value", expires_in=3600))
print(django_project.vault.get_account(account).state.value)
"""
    )
    assert (await run(script, project)).strip() == "connected"


def test_a_wrong_secret_stops_gunicorn_and_an_outage_does_not(monkeypatch):
    warnings = []
    worker = SimpleNamespace(log=SimpleNamespace(warning=lambda *arguments: warnings.append(arguments)))
    for error in (StorageError("away"), WrongEncryptionSecretError()):
        module = ModuleType("django_project")
        module.vault = SimpleNamespace(open=lambda error=error: (_ for _ in ()).throw(error))
        monkeypatch.setitem(sys.modules, "django_project", None)  # gunicorn reads its file before Django's settings
        start = runpy.run_path(str(RECIPES / "gunicorn_conf.py"))["post_worker_init"]
        monkeypatch.setitem(sys.modules, "django_project", module)
        if isinstance(error, StorageError):
            start(worker)
        else:
            with pytest.raises(WrongEncryptionSecretError):
                start(worker)
    assert len(warnings) == 1
