"""Applications of a host, with FastAPI and with Django, and a browser for them."""

import types

import httpx2

CALLBACK = "http://localhost/connect/callback"


def tenant_of(request):
    """The host's sign-in: a header names the tenant that is signed in."""
    return request.headers.get("x-tenant") or None


def session_of(request):
    return request.headers.get("x-session", "")


def fastapi_app(connector, **options):
    from fastapi import FastAPI
    from starlette.routing import Router

    from vault_adapters.connect.starlette import routes

    app = FastAPI()
    options = {"tenant": tenant_of, "session": session_of} | options
    app.mount("/connect", Router(routes(connector, done="/done", **options)))
    return app


def django_urls(connector, **options):
    import django
    from django.conf import settings
    from django.urls import clear_url_caches, include, path, set_urlconf

    from vault_adapters.connect.django import urls

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["localhost"], SECRET_KEY="of the tests", ROOT_URLCONF=None)
        django.setup()
    options = {"tenant": tenant_of, "session": session_of} | options
    patterns = urls(connector, done="/done", **options)
    urlconf = types.ModuleType("urls_of_this_test")
    urlconf.urlpatterns = [path("connect/", include(patterns))]
    clear_url_caches()
    set_urlconf(None)
    settings.ROOT_URLCONF = urlconf


def django_app(connector, **options):
    django_urls(connector, **options)
    from django.core.handlers.asgi import ASGIHandler

    return ASGIHandler()


def client_of(app, **headers):
    """A browser with cookies, signed in at the host; the application itself answers requests to the host's address."""
    transport = httpx2.ASGITransport(app)
    return httpx2.AsyncClient(
        mounts={"http://localhost": transport}, headers={"x-tenant": "t1", **headers}, trust_env=False
    )


async def agree(browser, url, user="ana@example.com"):
    """Press the button of a page of the host, and agree at the provider; return the callback's address."""
    begun = await browser.post(url)
    assert begun.status_code == 303, (begun.status_code, begun.text)
    agreed = await browser.get(begun.headers["location"] + f"&answer={user}")
    return agreed.headers["location"]
