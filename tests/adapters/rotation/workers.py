"""Functions that the processes of the load tests run."""

import asyncio
import itertools
import os
import time

from tests.adapters.rotation.place import NEW, OLD, Place

from vault_adapters import Account, Rotation, TokenKey, TokenKind, TokenSet


class Provider:
    """Gives one access token after the other."""

    rotation = Rotation.non_rotating()
    spends = TokenKind.REFRESH_TOKEN

    def __init__(self, name):
        self._numbers = itertools.count()
        self._name = name

    async def refresh(self, request):
        return TokenSet(f"{self._name} refreshed {next(self._numbers)}", expires_in=3600)


def keys_of(number, tenants, tokens):
    """Return the keys of one process; no other process writes under them, so it knows the stored values."""
    return [TokenKey(f"t{at % tenants:03d}", "acme", TokenKind.API_KEY, f"{number}-{at}") for at in range(tokens)]


def was_told(stop):
    return os.path.exists(stop)


async def use_until(url, settings, number, tenants, tokens, stop):
    """Read, store and refresh until a file appears; return how often each was done, and the stored values."""
    place = Place(url, **settings)
    held = dict.fromkeys(keys_of(number, tenants, tokens), f"{number} first")
    account = Account(f"t{number:03d}", "acme", f"refreshed by {number}")
    done = {"reads": 0, "stores": 0, "refreshes": 0}
    async with place.vault(NEW, OLD, refreshers={"acme": Provider(number)}) as vault:
        await vault.store_token_set(account, TokenSet("first", "refresh", expires_in=3600))
        for at in itertools.count():
            key = list(held)[at % len(held)]
            token = await vault.get_token(key)
            if token is None or token.value.reveal() != held[key]:
                raise AssertionError(f"read {token} instead of the value that was stored")
            done["reads"] += 1
            if at % 3 == 0:
                held[key] = f"{number} stored {at}"
                await vault.store_token(key, held[key])
                done["stores"] += 1
            if at % 10 == 0:
                token = await vault.refresh_account(account)
                if token.value.reveal() != f"{number} refreshed {done['refreshes']}":
                    raise AssertionError("refreshed to another value than the provider gave")
                done["refreshes"] += 1
            if was_told(stop):
                break
            await asyncio.sleep(0.002)  # leaves the processor to the other processes
    return {"done": done, "held": {key.identifier: value for key, value in held.items()}}


async def rotate_everything(url, settings, tenants, secret, previous):
    """Rotate all data keys and the master key, and print each step; return whether anything is incomplete."""
    place = Place(url, **settings)
    print("opening", flush=True)
    async with place.vault(secret, previous) as vault:
        for at in range(tenants):
            await vault.keys.rotate_data_key(f"t{at:03d}")
        print("reencrypting", time.time(), flush=True)
        await vault.keys.reencrypt()
        report = await vault.keys.rotate_master_key()
        print("done", flush=True)
        return report.incomplete
