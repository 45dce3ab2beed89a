"""An answer whose JSON object arrived whole counts, however the connection ended; half an object does not."""

import gzip
import json
import zlib

import httpx
import httpx2
import pytest
from tests.adapters.providers.asking import failure, refreshed
from tests.support.scripted_provider import FOREVER, Answer

from vault_adapters.providers import OAuth2Refresher
from vault_domain.entities.errors import ReauthorizationRequiredError, RefreshFailedError

TOKENS = json.dumps({"access_token": "access-2", "refresh_token": "refresh-2", "expires_in": 60}).encode()
CHUNK = b"%x\r\n%b\r\n" % (len(TOKENS), TOKENS)
CHUNKED = {"Transfer-Encoding": "chunked"}
TOO_LONG = {"Content-Length": str(len(TOKENS) + 9)}


def broken(body, headers, drop):
    """Return an answer that sends ``body`` as it is and then ends the connection by ``drop``; None keeps it open."""
    ending = {"body_delay": FOREVER} if drop is None else {"drop": drop, "drop_after": len(body)}
    # The provider pauses in the middle of what it sends. The spaces let all of `body` arrive before the pause.
    return Answer(body=body if drop else body + b" " * len(body), headers=headers, **ending)


FRAMINGS = {
    "last chunk missing, closed": broken(CHUNK, CHUNKED, "fin"),
    "last chunk missing, reset": broken(CHUNK, CHUNKED, "rst"),
    "last chunk missing, silent": broken(CHUNK, CHUNKED, None),
    "chunk without its end": broken(CHUNK[:-2], CHUNKED, "fin"),
    "a chunk that is none follows": broken(CHUNK + b"broken\r\n", CHUNKED, "fin"),
    "length too large, closed": broken(TOKENS, TOO_LONG, "fin"),
    "length too large, reset": broken(TOKENS, TOO_LONG, "rst"),
    "length too large, silent": broken(TOKENS, {"Content-Length": str(9 * len(TOKENS))}, None),
}


@pytest.fixture(params=[httpx2, httpx])
async def client(request):
    async with request.param.AsyncClient() as client:
        yield client


def refresher_for(provider, client):
    return OAuth2Refresher(provider.token_url, "client", "client-secret").with_client(client)


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_an_object_that_arrived_whole_counts(provider, client, framing):
    provider.answer(FRAMINGS[framing])
    tokens = await refreshed(refresher_for(provider, client), deadline=0.5 if "silent" in framing else 5.0)
    assert (tokens.access_token.reveal(), tokens.refresh_token.reveal()) == ("access-2", "refresh-2")


@pytest.mark.parametrize("end", ["fin", "rst"])
async def test_an_error_that_arrived_whole_counts(provider, client, end):
    body = b'{"error": "invalid_grant"}'
    answer = Answer(status=400, body=body, headers={"Content-Length": "99"}, drop=end, drop_after=len(body))
    provider.answer(answer)
    assert isinstance(await failure(refresher_for(provider, client)), ReauthorizationRequiredError)


PARTS = [TOKENS[:-1], TOKENS[:-30], TOKENS + b"{", b"12", b"", b'["access_token"]', b"{" * 50_000]


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("part", PARTS)
async def test_what_is_no_complete_object_leaves_the_outcome_unknown(provider, client, part, status):
    headers = {"Content-Length": "99999"}
    provider.answer(Answer(status=status, body=part, headers=headers, drop="fin", drop_after=len(part)))
    error = await failure(refresher_for(provider, client))
    assert isinstance(error, RefreshFailedError)
    assert error.outcome_unknown


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("missing", [0, 1, 4])
async def test_a_compressed_object_counts_only_with_its_checksum(provider, client, encoding, missing):
    packed = gzip.compress(TOKENS) if encoding == "gzip" else zlib.compress(TOKENS)
    sent = packed[: len(packed) - missing]
    headers = {"Content-Encoding": encoding, "Content-Length": "999"}
    provider.answer(Answer(body=sent, headers=headers, drop="fin", drop_after=len(sent)))
    if missing:
        assert (await failure(refresher_for(provider, client))).outcome_unknown
    else:
        assert (await refreshed(refresher_for(provider, client))).refresh_token.reveal() == "refresh-2"


async def test_a_wrong_checksum_does_not_count(provider, client):
    packed = bytearray(gzip.compress(TOKENS))
    packed[-5] ^= 1
    headers = {"Content-Encoding": "gzip", "Content-Length": "999"}
    provider.answer(Answer(body=bytes(packed), headers=headers, drop="fin", drop_after=len(packed)))
    assert (await failure(refresher_for(provider, client))).outcome_unknown


async def test_what_arrives_before_a_break_is_bounded_too(provider, client):
    body = TOKENS + b" " * 4 * 1024 * 1024
    provider.answer(Answer(body=body, headers={"Content-Length": "9999999"}, drop="fin", drop_after=len(body)))
    assert (await failure(refresher_for(provider, client))).outcome_unknown
