"""`gunicorn.conf.py`: with a wrong configuration, the server fails at its start, not at its first request."""

from vault_adapters import StorageError


def post_worker_init(worker):
    import django_project  # here, because gunicorn reads this file before Django has its settings

    try:
        django_project.vault.open()
    except StorageError as error:
        worker.log.warning("%s; the next call tries again", error)
