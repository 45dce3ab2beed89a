"""`CustomRefresher`: for answers that do not follow OAuth; the host writes only the functions that read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attrs import field, frozen

from vault_adapters.providers.answers import Members, answer_members, read_answer, unreadable
from vault_adapters.providers.expiry import retry_after
from vault_adapters.providers.http import Incoming, body_matters
from vault_adapters.providers.oauth2 import OAuth2Refresher
from vault_adapters.providers.oauth_errors import CONDEMNS_GRANT, error_code, refusal
from vault_domain.entities.errors import InvalidInputError, VaultError
from vault_domain.entities.scrub import scrubbed_class
from vault_domain.entities.token_set import TokenSet

AnswerReader: TypeAlias = Callable[[Mapping[str, Any]], TokenSet]
ErrorReader: TypeAlias = Callable[[int, Mapping[str, Any]], VaultError | None]


def _as_reader(value: Any) -> Any:
    if not callable(value):
        raise InvalidInputError("read_answer must be a function that takes a mapping and returns a TokenSet")
    return value


def _as_error_reader(value: Any) -> Any:
    if value is not None and not callable(value):
        raise InvalidInputError("read_error must be a function that takes a status and a mapping, or None")
    return value


@scrubbed_class
@frozen(eq=False)
class CustomRefresher(OAuth2Refresher):
    """Refreshes with a refresh token at a provider whose answers have a shape of their own.

    It sends the request of RFC 6749 section 6, keeps the deadlines, and distinguishes failures. If the provider could
    not be reached (name look-up, connection, TLS), the credential was not spent. If the exchange broke off or took too
    long, the outcome is unknown. Outages and registered OAuth error codes have the same meaning as in
    `OAuth2Refresher`.

    Args:
        token_url, client_id, client_secret, and all other arguments: as for `OAuth2Refresher`.
        read_answer: takes the members of an answer with the status 2xx (its JSON object or form) and returns a
            `TokenSet`. If it raises a `VaultError` other than `InvalidInputError`, that error is raised. After any
            other exception, the answer's member ``error`` determines the error to raise; without this member, the
            outcome is unknown, because the refresh token may be spent. No text of the exception is shown or stored,
            because it may hold a token.
        read_error: takes the status and the members of an answer (an empty mapping if there are none); returns None
            to go on, or the error to raise, which must have a registered OAuth error code as its ``reason``. The
            function is called before `read_answer`, for each status 2xx, and each 4xx except 429. If it raises an error
            that is no `VaultError`, the outcome is unknown.

    Raises:
        InvalidInputError: an argument is not valid; the message does not repeat it.
    """

    read_answer: AnswerReader = field(converter=_as_reader, kw_only=True, repr=False)
    read_error: ErrorReader | None = field(default=None, converter=_as_error_reader, kw_only=True, repr=False)

    def _read(self, answer: Incoming) -> TokenSet | VaultError:
        if not body_matters(answer.status):
            return read_answer(answer)
        members = answer_members(answer.body)
        if self.read_error is not None:
            problem = self._problem(answer, members or {})
            if problem is not None:
                return problem
        if answer.status >= 300 or members is None:
            return read_answer(answer)
        return self._tokens(members, answer)

    def _problem(self, answer: Incoming, members: Members) -> VaultError | None:
        try:
            problem = None if self.read_error is None else self.read_error(answer.status, members)
        except VaultError as error:
            return error.with_traceback(None)
        except Exception as error:  # its text may hold a token
            what = type(error).__name__
        else:
            if problem is None or isinstance(problem, VaultError):
                return problem
            what = "it returned no VaultError"
        return unreadable(f"read_error failed ({what})", answer)

    def _tokens(self, members: Members, answer: Incoming) -> TokenSet | VaultError:
        try:
            tokens = self.read_answer(members)
        except InvalidInputError:
            what = "InvalidInputError"
        except VaultError as error:
            return error.with_traceback(None)
        except Exception as error:  # its text may hold a token
            what = type(error).__name__
        else:
            if isinstance(tokens, TokenSet):
                return tokens
            what = "it returned no TokenSet"
        if members.get("error"):
            wait = retry_after(answer.headers, answer.received_at)
            return refusal(error_code(members), wait, CONDEMNS_GRANT)
        return unreadable(f"the provider's answer cannot be read by read_answer ({what})", answer)
