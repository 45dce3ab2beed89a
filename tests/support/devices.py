"""An OpenID provider on loopback that gives codes for devices (RFC 8628)."""

import secrets

from vault_adapters.testing.openid import LoopbackOpenIdProvider
from vault_adapters.testing.openid.provider import Grant

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class Devices(LoopbackOpenIdProvider):
    """Answers device requests.

    Attributes:
        started: members that replace those of its answer to a device authorization request; None removes a member.
        results: what it answers one after another when it is asked for tokens: an error code, or None for tokens.
        asked: the forms that it got.
    """

    def __init__(self, issuer, **options):
        super().__init__(issuer, **options)
        self.started, self.results, self.asked, self._device = {}, [], [], {}

    def token(self, form, authorization):
        self.asked.append(dict(form))
        if "grant_type" not in form:
            code = secrets.token_urlsafe(12)
            self._device[code] = form
            members = {
                "device_code": code,
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.issuer}/enter",
                "expires_in": 600,
                "interval": 1,
                **self.started,
            }
            return 200, {name: value for name, value in members.items() if value is not None}
        if form["grant_type"] != GRANT:
            return super().token(form, authorization)
        request = self._device.get(form.get("device_code"))
        error = "invalid_grant" if request is None or not self.results else self.results.pop(0)
        if error is not None:
            return error if isinstance(error, tuple) else (400, {"error": error})
        return 200, self._issue(Grant(self.users[0], request.get("scope", ""), {}))
