"""Posts the vault's events to a URL, signed as the Standard Webhooks specification says."""

import base64
import hashlib
import hmac
import json
import logging
import os
import time

import anyio
import httpx

from vault_adapters import AuditEvent, StorageError, VaultConfig, open_vault

TOLD = {"refresh_failing", "refresh_recovered", "reauthorization_required", "client_paused", "client_resumed"}
log = logging.getLogger("webhooks")
LONGEST_PAUSE = 60.0
MOST_REFUSALS = 5
PASSING = {408, 425, 429}  # statuses from 400 to 499 that say nothing about the event


def message(event: AuditEvent) -> bytes:
    """Return the body: what happened to which account, and never a token."""
    account = event.account
    data = {
        "tenant_id": event.tenant_id,
        "provider": event.provider if account is None else account.provider,
        "identifier": None if account is None else account.identifier,
        "code": event.code,
    }
    body = {"type": event.action.value, "timestamp": event.occurred_at.isoformat(), "data": data}
    return json.dumps(body).encode()


def signed(secret: bytes, message_id: str, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks."""
    moment = str(int(time.time()))
    digest = hmac.new(secret, f"{message_id}.{moment}.".encode() + body, hashlib.sha256).digest()
    signature = "v1," + base64.b64encode(digest).decode()
    return {"webhook-id": message_id, "webhook-timestamp": moment, "webhook-signature": signature}


async def post(client: httpx.AsyncClient, url: str, secret: bytes, event: AuditEvent) -> None:
    """Post one event, always with the same id, until the receiver takes it; the receiver can drop a repetition.

    An event that the receiver has refused five times by a status such as 400 or 422 is left out, because all later
    events would wait behind it.
    """
    body, pause, refusals = message(event), 0.5, 0
    while True:
        try:
            headers = {"content-type": "application/json", **signed(secret, f"msg_{event.cursor}", body)}
            answer = await client.post(url, content=body, headers=headers)
            if answer.is_success:
                return
            refusals += answer.is_client_error and answer.status_code not in PASSING
            if refusals == MOST_REFUSALS:
                log.error("the receiver refuses msg_%s with %d; it is left out", event.cursor, answer.status_code)
                return
        except httpx.HTTPError:
            pass
        await anyio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def keep(place: anyio.Path, cursor: str) -> None:
    """Store the cursor; a process that is killed meanwhile leaves the old or the new cursor, and never half of one."""
    part = place.with_suffix(".part")
    await part.write_text(cursor)
    await part.replace(place)


async def main(url: str, secret: bytes, place: anyio.Path) -> None:
    """Post the events of ``TOLD`` that come after the stored cursor, in order; store the cursor after each event."""
    after = await place.read_text() if await place.exists() else None
    async with open_vault(VaultConfig.from_env()) as vault, httpx.AsyncClient(timeout=10) as client:
        feed = vault.event_feed(after=after)
        while True:
            try:
                page = await anext(feed)
            except StorageError as error:
                if not error.retryable:
                    raise
                await anyio.sleep(1)  # the database is unreachable; the feed keeps its position
                continue
            for event in page.items:
                if event.action in TOLD:
                    await post(client, url, secret, event)
                if event.cursor is not None:  # each event of a feed has a cursor
                    await keep(place, event.cursor)


if __name__ == "__main__":
    # A secret of Standard Webhooks is "whsec_" and 24 to 64 random bytes in base64.
    key = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))
    anyio.run(main, os.environ["WEBHOOK_URL"], key, anyio.Path(os.environ["WEBHOOK_CURSOR_FILE"]))
