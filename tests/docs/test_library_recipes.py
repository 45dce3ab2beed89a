"""The recipes of the guide for other libraries: four processes meet a refused token, and it is refreshed once."""

import importlib
import importlib.util

import pytest
import requests
from tests.adapters.clients.strict_api import ACCOUNT, LOOPBACK, Place, meet, meeting_in, strict_api, with_recipes
from tests.support.answers import Answer
from tests.support.certificates import tls_of, write_identity
from tests.support.processes import Call, run_processes
from tests.support.strict_provider import ANSWERED

pytestmark = pytest.mark.pages

FOUR = 4
USER = Answer(json={"login": "ann", "url": "/user"})
DETAILS = Answer(json={"userId": "ann", "primaryEmail": {}})
FILES = Answer(json={"files": [{"name": "ann"}]})
RECORDS = Answer(json={"totalSize": 1, "done": True, "records": [{"Name": "ann"}]})


def ask_github(recipe, vault, account, url):
    return recipe.github_of(vault, account, hosts=LOOPBACK, base_url=url, retry=None).get_user().login


def ask_aws(recipe, vault, account, url):
    client = recipe.session_of(vault, account, hosts=LOOPBACK).client("codecatalyst", "us-west-2", endpoint_url=url)
    return client.get_user_details()["userId"]


def ask_google(recipe, vault, account, url):
    drive = recipe.drive_of(vault, account, hosts=LOOPBACK, client_options={"api_endpoint": url})
    return drive.files().list().execute()["files"][0]["name"]


def ask_salesforce(recipe, vault, account, url):
    with requests.Session() as session:
        salesforce = recipe.salesforce_of(vault, account, session, hosts=LOOPBACK)
        return salesforce.query("SELECT Name FROM Account")["records"][0]["Name"]


ASKED = {
    "pygithub": ("github", ask_github, USER),
    "boto3": ("boto3", ask_aws, DETAILS),
    "google_api": ("googleapiclient", ask_google, FILES),
    "simple_salesforce": ("simple_salesforce", ask_salesforce, RECORDS),
}


def ask(name, facts, url, meeting):
    with_recipes()
    recipe = importlib.import_module(f"with_{name}")
    with Place(*facts).open() as vault:
        meet(meeting)
        return ASKED[name][1](recipe, vault, ACCOUNT, url)


@pytest.mark.parametrize("name", ASKED)
def test_a_refused_token_is_refreshed_once_for_all_processes(name, tmp_path, monkeypatch):
    library, _, answer = ASKED[name]
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed; it is large, so the tests do not require it")
    identity = write_identity(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for variable in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "HTTPLIB2_CA_CERTS"):
        monkeypatch.setenv(variable, str(identity))
    with strict_api(tls_of(identity)) as api:
        api.route = lambda request: answer
        place = Place.in_file(tmp_path / "vault.db", api)
        pair = api.provider.consent("ann")
        place.connect(pair, extra={"instance_url": api.url})
        api.end(pair[0])
        job = Call(ask, [name, place.facts(), api.url, meeting_in(tmp_path, FOUR)])
        assert run_processes([job] * FOUR) == ["ann"] * FOUR
        assert api.outcomes == [ANSWERED]
