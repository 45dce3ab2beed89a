"""The faults of a world, each from its beginning to its end."""

from random import Random

from tests.simulation.host import WRONG_ID, WRONG_SECRET

_LOOPS = 400
"""Number of refreshes that a host forces for a refused account, one every 15 seconds."""

_CROWD_SECONDS = 900.0

_COMMITTED = 90.0
"""Seconds in which a process commits its waiting answers once it can."""


class Faults:
    """Starts a fault by its name; each ends by itself.

    Args:
        world: the world.
    """

    def __init__(self, world):
        self._world, self._random = world, Random()
        self.names = [
            *("kill", "stop", "deploy", "slow_database", "lost_acknowledgements", "database_down", "database_silent"),
            *(
                "journal_full",
                "clock_step",
                "host_lost",
                "rotate_keys",
                "user_revokes",
                "stray_401",
                "reconnect",
                "interrupted",
                "ambush",
            ),
        ]

    def start(self, name, number):
        """Start a fault, now or when the provider has just answered a refresh.

        Each fault has its own source of random numbers, so that the vault and its peers meet the same faults.
        """
        source = Random(f"{self._world.seed} {self._world.kind.name} {number}")
        self._random = source
        if self._random.random() < 0.5:
            delay = self._random.uniform(0.0, 0.6)
            self._world.provider.at_next_exchange.append(lambda _: self._world.later(delay, self._begin, name, source))
        else:
            self._begin(name, source)

    def _begin(self, name, source):
        if self._world.is_recovering:
            return
        self._random = source
        self._world.trouble()
        self._world.history.add("FAULT", name)
        getattr(self, f"_{name}")()

    def _hosts(self):
        hosts, random = self._world.hosts, self._random
        return hosts if random.random() < 0.5 else [random.choice(hosts)]

    def _during(self, seconds, undo):
        self._world.until(seconds, undo)

    # Processes

    def _kill(self):
        host, random = self._random.choice(self._world.hosts), self._random
        self._world.later(random.choice((0.0, random.uniform(0.0, 5.0))), host.kill)
        self._world.later(random.uniform(5.5, 60.0), self._start, host)

    def _interrupted(self):
        """If a process gets the next answer, cut the process off from the database before its commit; maybe kill it."""
        self._world.provider.at_next_exchange.append(self._interrupt)

    def _interrupt(self, grant):
        random, process = self._random, grant.last.process if grant.last else None
        hosts = [host for host in self._world.hosts if host.process is process]
        if not hosts or process is None:
            return
        seconds = random.choice((25.0, 50.0, 450.0))
        self._world.naps.disturb(seconds)
        hosts[0].link.change({"down": True, "slow": 0.05})
        self._during(seconds, lambda: hosts[0].link.change({"down": False, "slow": 0.0}))
        for number in range(int(seconds) // 2):
            self._world.later(2.0 * number, self._world.callers.ask, grant)
        if random.random() < 0.5:
            self._world.later(random.uniform(5.0, 15.0), hosts[0].kill)
            self._world.later(random.uniform(16.0, 20.0), self._start, hosts[0])

    def _forced(self):
        """Let an answer come late, seemingly after its lease, while the host of its process forces refreshes.

        Sometimes the database then does not take the answer for a while, although it takes claims.
        """
        self._world.provider.at_next_exchange.append(self._force)

    def _force(self, grant):
        random, host = self._random, self._host_of(grant.last.process) if grant.last else None
        if host is None or host.process is None:
            return
        world, late = self._world, random.uniform(20.0, 45.0)
        world.provider.next_delay = late
        world.later(random.uniform(1.0, 9.0), world.step_clock, 100.0)
        self._during(90.0, lambda: world.step_clock(-100.0))
        world.naps.disturb(90.0)
        if random.random() < 0.7:
            link = host.link
            link.change({"slow": random.choice((0.2, 1.0)), "refused": {"commit"}})
            # Other processes present the credential after 75 seconds at the earliest.
            self._during(60.0, lambda: link.change({"slow": 0.0, "refused": frozenset()}))
        for number in range(160):
            world.later(10.0 + 0.5 * number, self._force_at, host, grant, grant.last)

    def _force_at(self, host, grant, exchange):
        if host.is_serving and grant.last is exchange:
            host.process.start(self._world._quietly(lambda vault: self._world.force(vault, grant), host.vault))

    def _uncommitted(self):
        """Let no answer of a process be committed until its access token has expired, while the process may claim.

        Other processes claim nothing meanwhile, nor until the answer had time to be committed: they do not know of it.
        """
        self._world.provider.at_next_exchange.append(self._refuse_commits)

    def _refuse_commits(self, grant):
        world, host = self._world, self._host_of(grant.last.process) if grant.last else None
        if host is None or any(each.link.refused for each in world.hosts):
            return
        seconds = world.kind.lifetime + self._random.choice((300.0, 900.0))
        world.naps.disturb(seconds + _COMMITTED)
        for each in world.hosts:
            name, wait = ("commit", seconds) if each is host else ("claim", seconds + _COMMITTED)
            each.link.change({"refused": {name}})
            self._during(wait, lambda link=each.link: link.change({"refused": frozenset()}))

    def _closing(self):
        """Let a process close its vault while a provider's answer is to come soon."""
        self._world.provider.at_next_exchange.append(self._close_early)

    def _close_early(self, grant):
        host = self._host_of(grant.last.process) if grant.last else None
        if host is not None:
            self._world.provider.next_delay = self._random.uniform(3.0, 9.0)
            self._world.later(self._random.uniform(0.2, 2.0), host.stop)
            self._world.later(40.5, self._start, host)
            for number in range(20):
                self._world.later(60.0 + 5 * number, self._world.callers.ask, grant)

    def _late_failure(self):
        """Let an answer be lost, and its failure come after the lease of a process that cannot renew it."""
        self._world.provider.at_next_exchange.append(self._fail_late)

    def _fail_late(self, grant):
        host = self._host_of(grant.last.process) if grant.last else None
        if host is None:
            return
        provider, link = self._world.provider, host.link
        provider.next_delay, provider.is_next_lost = self._random.uniform(24.0, 40.0), True
        self._world.naps.disturb(60.0)
        link.change({"down": True, "slow": 0.05})
        self._during(60.0, lambda: link.change({"down": False, "slow": 0.0}))
        for number in range(20):
            self._world.later(15.0 + number, self._world.callers.ask, grant)

    def _ambush(self):
        """Kill or stop a process, or cut it off, at one of the next calls of its ports after a refresh begins."""
        random = self._random
        calls, strike = random.randint(1, 14), random.choice((self._strike_dead, self._strike_stop, self._strike_cut))
        self._world.provider.at_next_request.append(lambda: self._world.ambush.set(calls, strike))

    def _strike_dead(self, process):
        host = self._host_of(process)
        if host is not None:
            host.kill()
            self._world.later(self._random.uniform(2.0, 60.0), self._start, host)

    def _strike_stop(self, process):
        self._freeze(process, self._random.choice((3.0, 30.0, 120.0)))

    def _strike_cut(self, process):
        host = self._host_of(process)
        if host is not None:
            seconds = self._random.choice((3.0, 40.0, 300.0))
            self._world.naps.disturb(seconds)
            host.link.change({"down": True, "slow": 0.05})
            self._during(seconds, lambda: host.link.change({"down": False, "slow": 0.0}))

    def _host_of(self, process):
        return next((host for host in self._world.hosts if host.process is process), None)

    def _start(self, host):
        if host.process is None:
            host.start()

    def _stop(self):
        host, random = self._random.choice(self._world.hosts), self._random
        if host.process is not None:
            self._freeze(host.process, random.choice((random.uniform(1, 30), random.uniform(30, 300))))

    def _freeze(self, process, seconds):
        process.freeze()
        self._world.sweeps.wake()
        process.stopped_seconds += seconds
        self._during(seconds, process.thaw)

    def _deploy(self):
        for host in self._world.hosts:
            self._world.later(self._random.uniform(0.0, 20.0), host.stop)
            self._world.later(40.0, host.kill)  # the supervisor's patience
            self._world.later(self._random.uniform(40.5, 60.0), self._start, host)

    def _host_lost(self):
        host = self._random.choice(self._world.hosts)
        self._world.oracle.on_disk_lost(host)
        host.kill()
        host.disk.files.clear()
        self._world.later(self._random.uniform(5.0, 300.0), self._start, host)

    # Databases, disks, clocks

    def _slow_database(self):
        self._links(self._random.uniform(30, 600), slow=self._random.choice((0.05, 0.5, 4.0)))

    def _lost_acknowledgements(self):
        self._links(self._random.uniform(30, 600), slow=0.1, lost=0.3)

    def _database_down(self):
        self._links(self._random.choice((5.0, 60.0, 600.0)), down=True, slow=0.05)

    def _database_silent(self):
        self._links(self._random.choice((5.0, 60.0, 300.0)), silent=True, slow=0.05)

    def _links(self, seconds, **changes):
        self._world.naps.disturb(seconds)
        for host in self._hosts():
            host.link.change(changes)
            self._during(seconds, lambda link=host.link: link.change(dict.fromkeys(changes, 0)))

    def _journal_full(self):
        for host in self._hosts():
            host.disk.is_full, host.disk.full_since = True, self._world.loop.time()
            self._during(self._random.uniform(60, 3600), lambda disk=host.disk: setattr(disk, "is_full", False))

    def _clock_step(self):
        step = self._random.choice((-7200.0, -60.0, 60.0, 100.0, 7200.0))
        self._world.step_clock(step)
        self._during(self._random.uniform(60, 1800), lambda: self._world.step_clock(-step))

    # Keys, users and resources

    def _rotate_keys(self):
        self._world.on_some_vault(self._world.rotate_keys)

    def _user_revokes(self):
        grant = self._random.choice(self._world.provider.grants)
        if self._random.random() < 0.3:
            self._world.provider.revoke(grant, "user")

    def _reconnect(self):
        if self._world.kind.grant == "oauth2":
            self._world.provider.at_next_exchange.append(self._connect_again)

    def _connect_again(self, grant):
        self._world.on_some_vault(lambda vault: self._world.connect_again(vault, grant.number))

    def _stray_401(self):
        grant = self._random.choice(self._world.provider.grants)
        self._world.on_some_vault(lambda vault: self._world.reject(vault, grant))

    # The provider

    def _weather(self, seconds, **changes):
        weather = self._world.provider.weather
        for name, value in changes.items():
            setattr(weather, name, value)
        self._during(seconds, lambda: [setattr(weather, name, 0.0) for name in changes])

    def _outage(self):
        random = self._random
        seconds = random.choice((60.0, 1200.0, 7200.0))
        self._weather(seconds, down=random.choice((0.5, 1.0)))
        grant = random.choice(self._world.provider.grants)
        for number in range(int(min(seconds, _CROWD_SECONDS) / 5)):  # a crowd that asks again and again
            self._world.later(seconds - 5.0 * number, self._world.callers.ask, grant)

    def _timeouts(self):
        self._weather(self._random.uniform(60, 3600), timeouts=0.5)

    def _lost_answers(self):
        self._weather(self._random.uniform(60, 3600), lost_answers=0.3)

    def _late_answers(self):
        self._weather(self._random.uniform(600, 12 * 3600), late_answers=0.5)

    def _throttle(self):
        self._weather(self._random.uniform(60, 3600), throttle=0.7)

    def _wrong_client_id(self):
        self._wrong_client(WRONG_ID)

    def _wrong_client_secret(self):
        self._wrong_client(WRONG_SECRET)

    def _wrong_client(self, change):
        self._world.is_client_wrong = True
        self._configure(change)
        self._world.until(3600.0, self._mend)

    def _mend(self):
        self._configure({})
        self._world.mended_at = self._world.loop.time()
        self._world.later(120.0, lambda: setattr(self._world, "is_client_wrong", False))

    def _configure(self, change):
        for host in self._world.hosts:
            host.is_lying = change
        self._deploy()

    def _directory_refuses(self):
        """Refuse all accounts of one tenant, as Entra does until an administrator consents."""
        grant = self._random.choice(self._world.provider.grants)
        tenant = self._world.account(grant.number).tenant_id
        grants = self._world.provider.grants
        self._refuse(
            "unauthorized_client",
            [each for each in grants if self._world.account(each.number).tenant_id == tenant],
        )

    def _invalid_scope(self):
        self._refuse("invalid_scope", [self._random.choice(self._world.provider.grants)])

    def _refuse(self, code, grants):
        refused, grant = self._world.provider.weather.refused, grants[0]
        numbers = [each.number for each in grants]
        refused.update(dict.fromkeys(numbers, code))
        self._world.ever_refused.update(numbers)
        for number in range(_LOOPS):
            self._world.later(number * 15.0, self._world.on_some_vault, lambda vault: self._world.force(vault, grant))
        self._during(self._random.uniform(3600, 48 * 3600), lambda: [refused.pop(number, None) for number in numbers])
