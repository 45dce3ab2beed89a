"""Makes a SQLite file with the tables of django-allauth and social-auth-app-django: its argument is the path."""

import sys
from datetime import UTC, datetime

import django
from django.conf import settings

CANARY = "canary-7f3a9c"


def main(path: str) -> None:
    """Migrate the file with the packages' own migrations, and log a user in everywhere."""
    applications = ("auth", "contenttypes", "sessions", "sites")
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": path}},
        INSTALLED_APPS=[
            *(f"django.contrib.{name}" for name in applications),
            *("allauth", "allauth.account", "allauth.socialaccount", "social_django"),
        ],
        MIDDLEWARE=["allauth.account.middleware.AccountMiddleware"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        SITE_ID=1,
        SECRET_KEY="of these tests",
    )
    django.setup()
    from django.contrib.auth import get_user_model
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    ann = get_user_model().objects.create_user("ann")
    _allauth(ann)
    _social_auth(ann)


def _allauth(user: object) -> None:
    from allauth.socialaccount.models import SocialAccount, SocialToken

    ends = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
    logins = (("google", "g-1", f"{CANARY}-r"), ("github", "h-1", ""), ("twitter", "t-1", "a secret of OAuth 1"))
    for provider, uid, secret in logins:
        account = SocialAccount.objects.create(user=user, provider=provider, uid=uid)
        SocialToken.objects.create(account=account, token=f"{CANARY}-{provider}", token_secret=secret, expires_at=ends)


def _social_auth(user: object) -> None:
    from social_django.models import UserSocialAuth

    pair = {
        "access_token": f"{CANARY}-a",
        "refresh_token": f"{CANARY}-r",
        "token_type": "Bearer",
        "scope": "mail drive",
    }
    logins = {
        "s-1": pair | {"auth_time": 4_070_919_845, "expires": 3600},
        "s-2": {"access_token": f"{CANARY}-b", "expires": 4_070_923_445, "scope": ["mail"]},
        "s-3": {"access_token": {"oauth_token": "x", "oauth_token_secret": "y"}},
        "s-4": {"id": "no token"},
        "s-5": {"access_token": f"{CANARY}-c", "expires": CANARY},
    }
    for uid, extra in logins.items():
        UserSocialAuth.objects.create(user=user, provider="google-oauth2", uid=uid, extra_data=extra)


if __name__ == "__main__":
    main(sys.argv[1])
