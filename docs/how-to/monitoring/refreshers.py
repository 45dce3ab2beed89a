"""The refreshers of the worker, by the names of their providers."""

import os

from vault_adapters.providers import refresher

refreshers = {
    "google": refresher("google", os.environ["GOOGLE_CLIENT_ID"], os.environ["GOOGLE_CLIENT_SECRET"]),
}
