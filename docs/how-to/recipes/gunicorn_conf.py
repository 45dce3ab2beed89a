"""`gunicorn.conf.py`: a wrong configuration stops the server at its start, not the first request."""

import django_project

from vault_adapters import StorageError


def post_worker_init(worker):
    try:
        django_project.vault.open()
    except StorageError as error:
        worker.log.warning("%s; the next call tries again", error)
