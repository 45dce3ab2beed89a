"""The simulated provider. It knows of every grant whether it is alive, and which of its tokens work."""

from base64 import b64decode
from collections import deque
from functools import lru_cache

from attrs import Factory, define
from tests.simulation.loop import PROCESS, Life

MOST_PER_HOUR = 60
"""Requests per hour that the provider may see for an account."""

CLIENT_ID, CLIENT_SECRET, WRONG = "client", "client-secret", "wrong"
MASS_ACCOUNTS, MASS_SECONDS, MASS_MEMORY = 5, 600.0, 6 * 3600.0
"""Rejections of `MASS_ACCOUNTS` different accounts within `MASS_SECONDS` may look like a fault of the provider.

A vault may take them for such a fault until `MASS_MEMORY` seconds after the last of them.
"""

STORE_SECONDS = 3.0
"""Seconds that a process needs to store an answer in the database."""


@define(eq=False)
class Exchange:
    """One refresh that the provider granted.

    Attributes:
        at: time at which the credential was spent.
        process: the process that sent the request.
        refresh_token: the new refresh token, or None if the old one stays.
        lost: why nobody can have the answer; None if the asking process got it or may still get it.
        delivered: time at which the process got it, or None.
        due: time at which its answer reaches the process, if that still listens.
        out_of_reach: whether the grant died because the process that had the answer could not store it for as long as
            other processes have to wait; see `was_out_of_reach`.
        grant: the grant that was refreshed.
    """

    at: float
    process: object
    refresh_token: str | None
    lost: str | None = None
    delivered: float | None = None
    due: float = float("inf")
    out_of_reach: bool = False
    grant: object = None


@define(eq=False)
class Grant:
    """A user's grant.

    Attributes:
        number: number of the account.
        current: the credential that works.
        used: time of the latest use.
        family: number of the grant; a user may grant access again.
        began: time at which the user granted access.
        dead: why the grant is dead, or None.
        died: time of its death.
        spent: the exchange that replaced each earlier credential.
        access: expiry of each access token that still works.
        uses: number of refreshes that the provider granted.
        requests: times of the latest requests that carried a credential of the grant.
        refused_at: time at which a request for the grant was last refused although the grant was alive.
        is_to_be_replaced: whether the user was asked to connect again.
        is_stored: whether a vault has confirmed that it stored the grant's tokens.
    """

    number: int
    current: str
    used: float
    family: int
    began: float
    dead: str | None = None
    died: float | None = None
    last: Exchange | None = None
    spent: dict = Factory(dict)
    access: dict = Factory(dict)
    requests: deque = Factory(lambda: deque(maxlen=MOST_PER_HOUR + 1))
    serial: int = 0
    uses: int = 0
    refused_at: float = float("-inf")
    is_to_be_replaced: bool = False
    is_stored: bool = False


@define
class Weather:
    """What goes wrong at the provider at present; each field is a probability or a switch."""

    down: float = 0.0  # 503, or the connection is refused: not processed
    timeouts: float = 0.0  # the request never arrives, and nobody answers
    lost_answers: float = 0.0  # processed, but the answer is a 502 or a reset
    late_answers: float = 0.0  # processed, and the answer takes up to 50 seconds
    throttle: float = 0.0  # 429 with Retry-After
    refused: dict = Factory(dict)  # error code by number of the account


class Provider:
    """Answers token requests by the rules of its kind."""

    def __init__(self, loop, kind, random, history, oracle, patience):
        self._loop, self.kind, self._random, self._patience = loop, kind, random, patience
        self._history, self._oracle = history, oracle
        self.grants, self._by_credential = [], {}
        self.weather = Weather()
        self.requests, self._families, self._tokens = 0, 0, 0
        self.at_next_exchange, self.at_next_request = [], []
        self.next_delay, self.is_next_lost = None, False
        self._verdicts, self._most_rejected_at = {}, float("-inf")

    def connect(self, number):
        """Let a user grant access; return the grant and the members of the token endpoint's answer."""
        self._families += 1
        now, absolute = self._loop.time(), self.kind.absolute
        # Users granted access on different days, even if a host learns of all of them at once.
        began = now if absolute is None else now - self._random.uniform(0.0, 0.9) * absolute
        grant = Grant(number, self._credential(number, self._families, 0), now, self._families, began)
        if number < len(self.grants):  # the user connects again, which ends the earlier grant
            self.revoke(self.grants[number], "replaced")
            self.grants[number] = grant
        else:
            self.grants.append(grant)
        self._by_credential[grant.current] = grant
        access, members = self._issue(grant)
        if self.kind.grant == "meta":
            self._renew(grant, access)
        elif self.kind.grant == "oauth2":
            members["refresh_token"] = grant.current
        return grant, members

    def revoke(self, grant, why):
        """End a grant."""
        if grant.dead is None:
            grant.dead, grant.died = why, self._loop.time()
            grant.access.clear()
            self._oracle.on_death(grant)

    def accepts(self, grant, access):
        """Return whether an access token works now."""
        return grant.access.get(access, 0.0) > self._loop.time()

    def receive(self, headers, form, delay, reply):
        """Take a request off the network, and set ``reply`` to status, headers and body in due time."""
        process = PROCESS.get()
        hooks, self.at_next_request = self.at_next_request, []
        for hook in hooks:
            hook()
        weather, chance = self.weather, self._random.random
        if chance() < weather.timeouts:
            self._note("a request is lost")
            return
        self._loop.outside(delay, self._process, process, headers, form, reply)

    def _process(self, process, headers, form, reply):
        self.requests += 1
        weather, random = self.weather, self._random
        back = random.uniform(0.02, 0.3)
        exchange = None
        if random.random() < weather.throttle:
            seconds = random.randint(1, 300)
            answer = 429, {"retry-after": str(seconds)}, {}
            self._fail(form, headers, process, back, seconds)
        elif random.random() < weather.down:
            answer = random.choice((500, 503, 503)), {}, {}
            self._fail(form, headers, process, back, None if answer[0] == 500 else 0.0)
        else:
            answer, exchange = self._decide(process, headers, form)
        if exchange is not None and random.random() < weather.lost_answers:
            answer = random.choice((502, 504, None)), {}, {}
            self._note("the answer is lost")
            exchange.lost, exchange = "the provider or the network lost the answer", None
        if random.random() < weather.late_answers:
            back = random.uniform(5.0, 50.0)
            self._note(f"the answer will take {back:.0f} s")
        if exchange is not None and self.next_delay is not None:
            back, self.next_delay = self.next_delay, None
            self._note(f"the answer will take {back:.0f} s")
            if self.is_next_lost:
                answer, self.is_next_lost = (502, {}, {}), False
                exchange.lost, exchange = "the provider lost the answer", None
        if exchange is not None:
            exchange.due = self._loop.time() + back
        self._loop.outside(back, self._deliver, answer, exchange, reply)

    def _deliver(self, answer, exchange, reply):
        if exchange is not None:
            self._mark_delivered(exchange, reply)
        if not reply.done():
            reply.set_result(answer)

    def _mark_delivered(self, exchange, reply):
        process = exchange.process
        if process is not None and process.life is Life.DEAD:
            exchange.lost = exchange.lost or "the process was dead before the answer came"
        elif reply.done():
            self._note("nobody listens for the answer any more")
        else:
            exchange.delivered = self._loop.time()
            self._note_verdict(exchange.grant, is_rejected=False)  # no vault knows of a success whose answer is lost

    # What the request asks for

    def _count_request(self, grant):
        grant.requests.append(self._loop.time())
        self._oracle.judge_load(grant)

    def _fail(self, form, headers, process, back, retry_after):
        """Count a failing request. If `retry_after` is None, the vault cannot know whether the request took effect."""
        grant, credential = self._named(form, headers)
        if grant is not None:
            self._count_request(grant)
            if retry_after is not None:
                self._loop.outside(back, self._patience.on_failure, credential, process, retry_after)

    def attempted(self, headers, form, *, is_refused):
        """Take note that a process tries to send a request, and whether its connection is refused."""
        grant, credential = self._named(form, headers)
        if grant is not None:
            self._patience.on_attempt(grant, credential)
            if is_refused:
                self._patience.on_failure(credential, PROCESS.get())

    def _named(self, form, headers):
        credential = form.get("refresh_token") or form.get("fb_exchange_token") or headers.get("Authorization")
        return self._by_credential.get(credential), credential

    def _decide(self, process, headers, form):
        grant, credential = self._named(form, headers)
        if grant is None:
            return (400, {}, {"error": "invalid_grant"}), None
        self._count_request(grant)
        refused = self._refused(grant, headers)
        if refused is not None:
            grant.refused_at = self._loop.time()
            self._note(f"account {grant.number} is refused: {refused[2].get('error')}")
            return refused, None
        self.lapse(grant)
        if credential != grant.current:
            self._replayed(grant, credential, process)
        if grant.dead is not None:
            self._note(f"account {grant.number} is dead: {grant.dead}")
            self._note_verdict(grant, is_rejected=True)
            status, members = self.kind.dead
            return (status, {}, members), None
        return self._granted(grant, process)

    def _refused(self, grant, headers):
        sent = headers.get("Authorization", "")
        if self.kind.grant == "oauth2" and sent != basic(CLIENT_ID, CLIENT_SECRET):
            if sent == basic(WRONG, CLIENT_SECRET):
                status, members = self.kind.foreign  # issued to another client (RFC 6749, 5.2)
                return status, {}, members
            return 401, {}, {"error": "invalid_client"}
        code = self.weather.refused.get(grant.number)
        return None if code is None else (400, {}, {"error": code})

    def lapse(self, grant):
        """End a grant that was not used for too long, or that is too old."""
        idle, absolute, now = self.kind.idle, self.kind.absolute, self._loop.time()
        if idle is not None and now - grant.used > idle:
            self.revoke(grant, "idle")
        if absolute is not None and now - grant.began > absolute:
            self.revoke(grant, "absolute")
        if self.kind.grant == "meta" and not self.accepts(grant, grant.current):
            self.revoke(grant, "expired")

    def _replayed(self, grant, credential, process):
        exchange, now = grant.spent[credential], self._loop.time()
        if self.kind.grace is None or now <= exchange.at + self.kind.grace:
            return
        self._note(f"account {grant.number}: a spent refresh token is presented again")
        if not self.kind.revokes or grant.dead is not None:
            return
        exchange.out_of_reach = exchange is grant.last and self._oracle.was_out_of_reach(exchange)
        self.revoke(grant, "reuse")
        if grant.last.lost is None and not self._oracle.is_out_of_reach(grant.last, process):
            self._oracle.violated(
                "reuse", f"account {grant.number}, spent at {exchange.at:.1f}, and its successor was not lost"
            )

    def _note_verdict(self, grant, *, is_rejected):
        """Remember whether a grant was rejected, and the last time at which most of the accounts were rejected."""
        now, verdicts = self._loop.time(), self._verdicts
        verdicts.pop(grant.number, None)
        verdicts[grant.number] = now, is_rejected
        if not is_rejected:
            return
        lately = [each for at, each in verdicts.values() if at > now - MASS_SECONDS]
        if sum(lately) >= MASS_ACCOUNTS and 2 * sum(lately) > len(lately):
            self._most_rejected_at = now

    def rejects_most(self):
        """Return whether so many accounts were rejected lately that a vault may take it for a fault of the provider."""
        return self._loop.time() - self._most_rejected_at < MASS_MEMORY

    def _granted(self, grant, process):
        now, kind = self._loop.time(), self.kind
        self._patience.on_success(grant.current)
        rotated = None
        grant.used, grant.uses = now, grant.uses + 1
        if kind.grant != "meta" and self._random.random() < kind.rotates and grant.uses % kind.uses == 0:
            grant.serial += 1
            rotated = self._credential(grant.number, grant.family, grant.serial)
        exchange = Exchange(now, process, rotated, grant=grant)
        access, members = self._issue(grant)
        if rotated is not None:
            grant.spent[grant.current] = exchange
            self._renew(grant, rotated)
            members["refresh_token"] = rotated
        if kind.grant == "meta":
            grant.spent[grant.current] = exchange
            self._renew(grant, access)
        if rotated is not None or kind.grant == "meta":
            grant.last = exchange
        self._note(f"account {grant.number} gets {access}" + (f" and {rotated}" if rotated else ""))
        hooks, self.at_next_exchange = self.at_next_exchange, []
        for hook in hooks:
            hook(grant)
        return (200, {}, members), exchange

    def _renew(self, grant, credential):
        grant.current = credential
        self._by_credential[credential] = grant

    def _issue(self, grant):
        now, lifetime = self._loop.time(), self.kind.lifetime
        if self.kind.old_token_dies:
            grant.access.clear()
        if len(grant.access) > 8:
            grant.access = {token: until for token, until in grant.access.items() if until > now}
        self._tokens += 1
        access = f"at-{grant.number}-{self._tokens}"
        grant.access[access] = now + lifetime - self.kind.dies_early
        members = {"access_token": access, "token_type": "Bearer"}
        if self.kind.tells_lifetime:
            members["expires_in"] = int(lifetime)
        return access, members

    def _credential(self, number, family, serial):
        if self.kind.grant == "client_credentials":
            return basic(f"key-{number}", "key-secret")
        return f"rt-{number}-{family}-{serial}"

    def _note(self, text):
        self._history.add("provider", text)


def basic(client_id, client_secret):
    """Return the value of an Authorization header."""
    return f"{client_id}:{client_secret}"


def plain_headers(headers):
    """Return the headers, with Basic credentials decoded."""
    sent = headers.get("Authorization", "")
    return {"Authorization": _decoded(sent[6:])} if sent.startswith("Basic ") else {}


@lru_cache(maxsize=100)
def _decoded(credentials):
    return b64decode(credentials).decode()


def lost_with_its_process(exchange, at, journal_broken_since, database_broken_since):
    """Return whether a process that was killed at ``at`` could not have made an answer durable."""
    if exchange.delivered is None or at <= exchange.delivered:
        return True
    if journal_broken_since > exchange.delivered:
        return False  # a write to the journal takes no time here
    return at < exchange.delivered + STORE_SECONDS or database_broken_since <= exchange.delivered + STORE_SECONDS


def encode(members):
    """Return the body of an answer with these members. If `members` is None, the body is a page that is not JSON."""
    if members is None:
        return b"<html>not found</html>"
    return f"{{{', '.join([_member(name, value) for name, value in members.items()])}}}".encode()


def _member(name, value):
    """Return a member as `json.dumps` writes it; what this provider sends has nothing to escape."""
    return f'"{name}": "{value}"' if type(value) is str else f'"{name}": {value}'
