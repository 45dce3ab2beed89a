"""Each `dashboard_*` recipe runs: behind a login, under a prefix, with actions and their actor."""

import pytest
from tests.docs.test_recipes import RECIPES, environment, run

pytestmark = [pytest.mark.pages, pytest.mark.real_scrypt]

__all__ = ["environment"]

WALK = """
import re
def walk(client, headers):
    path = "/ops/vault/"
    answer = client.get(path, headers=headers, follow_redirects=False)
    assert answer.status_code == 200, answer.status_code
    assert "tenant-1" in client.get(path + "accounts", headers=headers).text
    ask = path + "ask/delete?tenant=tenant-1&provider=github&identifier=42"
    form = dict(re.findall(r'type="hidden" name="(\\w+)" value="([^"]*)"', client.get(ask, headers=headers).text))
    done = client.post(path + "act/delete", data=form, headers=headers)
    assert "1 token of" in done.text, done.text
    return client.get(path + "audit", headers=headers).text
"""


async def test_fastapi(environment):
    script = (
        WALK
        + """
import warnings
warnings.simplefilter("ignore")  # the test client's own warnings
from fastapi.testclient import TestClient
from dashboard_fastapi import app
with TestClient(app) as client:
    print(client.get("/ops/vault/").status_code)
    print("<bdi>ana</bdi>" in walk(client, {"X-Operator": "ana"}))
with TestClient(app) as client:  # a second time, as in the next test of a host
    print(client.get("/ops/vault/keys", headers={"X-Operator": "ana"}).status_code)
"""
    )
    assert (await run(script, environment)).splitlines() == ["404", "True", "200"]


async def test_django(environment, tmp_path):
    script = (
        WALK
        + f"""
import warnings
warnings.simplefilter("ignore")  # the test client's own warnings
import django
from django.conf import settings
settings.configure(
    ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x", DEBUG=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {str(tmp_path / "django.db")!r}}}}},
)
django.setup()
import sys, types
from django.core.management import call_command
call_command("migrate", verbosity=0)
urls = types.ModuleType("urls")
from django.http import HttpResponse
from django.urls import path
urls.urlpatterns = [path("elsewhere", lambda request: HttpResponse("the host's own page"))]
sys.modules["urls"] = urls
from django.contrib.auth.models import User
from django.test import Client
from starlette.testclient import TestClient
cookies = {{}}
for name, staff in [("ana", True), ("bob", False)]:
    user = User.objects.create_user(name, password="x", is_staff=staff, is_superuser=staff)
    visitor = Client()
    visitor.force_login(user)
    cookies[name] = visitor.cookies["sessionid"].value
from dashboard_django import application
with TestClient(application) as client:
    client.cookies.set("sessionid", cookies["bob"])
    print(client.get("/ops/vault/", follow_redirects=False).status_code)
with TestClient(application) as client:
    # Other software of the site sets cookies that Python's own parser does not take.
    headers = {{"Cookie": 'prefs={{"a": "b, c"}}; team@work=x; sessionid=' + cookies["ana"]}}
    print(client.get("/ops/vault/", headers=headers, follow_redirects=False).status_code)
with TestClient(application) as client:
    client.cookies.set("sessionid", cookies["ana"])
    print("<bdi>ana</bdi>" in walk(client, {{}}))
    print(client.get("/elsewhere").text)
"""
    )
    assert (await run(script, environment)).splitlines() == ["303", "200", "True", "the host's own page"]


def test_the_recipes_stand_in_the_guide():
    guide = (RECIPES.parent / "show-the-vault-to-operators.md").read_text()
    for recipe in RECIPES.glob("dashboard_*.py"):
        assert f"recipes/{recipe.name}" in guide
