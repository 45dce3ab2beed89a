"""A provider's description of a refusal is shown only to a developer who asks for it."""

import logging

import pytest

from vault_adapters.providers.descriptions import describe, describe_callback

NAME = "vault_adapters.providers.descriptions"
BODY = b'{"error": "invalid_request", "error_description": "no such scope: refresh-0-of-ann"}'
SENT = b"grant_type=refresh_token&refresh_token=refresh-0-of-ann"


@pytest.fixture
def asked():
    logging.getLogger(NAME).setLevel(logging.DEBUG)
    yield
    logging.getLogger(NAME).setLevel(logging.NOTSET)


def test_it_is_shown_on_demand_without_what_was_sent(asked, caplog):
    describe(400, BODY, SENT, ["Basic Y2xpZW50"])
    assert caplog.messages == ["the provider refused with 400: invalid_request no such scope: **********"]


def test_a_form_is_shown_too(asked, caplog):
    describe(401, b"error=invalid_client&error_description=unknown", SENT, [])
    assert caplog.messages == ["the provider refused with 401: invalid_client unknown"]


def test_a_service_that_logs_everything_shows_nothing(caplog):
    caplog.set_level(logging.DEBUG)
    describe(400, BODY, SENT, [])
    assert caplog.messages == []


@pytest.mark.parametrize(("status", "body"), [(200, BODY), (500, BODY), (400, None)])
def test_other_answers_are_not_shown(asked, caplog, status, body):
    describe(status, body, SENT, [])
    assert caplog.messages == []


def test_a_callback_is_shown_on_demand_without_its_state(asked, caplog):
    describe_callback("access_denied", "AADSTS65004: not\nagreed, state-of-ann", ["state-of-ann", ""])
    assert caplog.messages == ["the callback refuses: access_denied AADSTS65004: not agreed, **********"]


def test_a_callback_is_not_shown_to_a_service_that_logs_everything(caplog):
    caplog.set_level(logging.DEBUG)
    describe_callback("access_denied", "no", [])
    assert caplog.messages == []
