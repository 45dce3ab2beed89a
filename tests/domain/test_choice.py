"""Enumerations refuse a wrong value with an error that does not repeat it."""

import copy
import pickle
import traceback

import pytest

import vault_domain
from vault_domain import InvalidInputError
from vault_domain.entities.choice import Choice

CANARY = "canary-4711"
PUBLIC = [getattr(vault_domain, name) for name in vault_domain.__all__]
CHOICES = [found for found in PUBLIC if isinstance(found, type) and issubclass(found, Choice)]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.__name__)
def test_a_wrong_text_stays_out_of_the_error_and_its_frames(choice):
    for wrong in (CANARY, [CANARY], CANARY.encode(), {CANARY: CANARY}):
        with pytest.raises(InvalidInputError) as caught:
            choice(wrong)
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        own, *inner = shown.stack
        assert own.filename == __file__
        assert not any(CANARY in str(frame.locals) for frame in inner)
        assert CANARY not in "".join(shown.format_exception_only())
        assert caught.value.__context__ is None
        assert f"{choice.__name__} must be one of " in str(caught.value)


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.__name__)
def test_otherwise_it_is_an_enumeration_of_texts(choice):
    for member in choice:
        assert choice(member) is choice(member.value) is choice(str(member)) is member
        assert copy.deepcopy(member) is pickle.loads(pickle.dumps(member)) is member
        assert f"{member}" == str(member) == member.value == member


def test_every_public_enumeration_of_texts_is_one():
    names = {"TokenKind", "TokenStatus", "TokenHealth", "MarkOutcome", "ConnectionState", "AuditAction"}
    assert names <= {choice.__name__ for choice in CHOICES}
