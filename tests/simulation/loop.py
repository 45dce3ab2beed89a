"""An event loop with virtual time: when nothing is left to do, its time jumps to the next timer."""

import asyncio
import contextvars
import enum
import heapq
from collections import deque
from itertools import count
from random import Random

PROCESS = contextvars.ContextVar("PROCESS", default=None)
"""The simulated process that the running code belongs to; None: the world outside of all processes."""


_FEW_TASKS = 50
"""Tasks that a process may keep although they have ended."""


class Life(enum.Enum):
    """What the loop does with the callbacks of a process."""

    RUNNING = "running"
    FROZEN = "frozen"  # keeps them, as the kernel does for a stopped process
    DEAD = "dead"  # drops them, so that not even a ``finally`` runs, as after kill -9


_RUNNING = Life.RUNNING  # looking a member up takes a while in Python 3.11
_Task, _copy_context, _process = asyncio.Task, contextvars.copy_context, PROCESS.get
_push, _pop, _next = heapq.heappush, heapq.heappop, next


class Process:
    """A process whose callbacks the loop runs, keeps or drops.

    Attributes:
        name: shown in histories.
        life: what happens to its callbacks.
        stopped_seconds: the sum of its stops.
        thawed_at: time at which it last continued.
        last_stop: beginning and end of its latest stop; no end while it lasts.
        first_read_at: time of its first read of the server's clock, when it opens its vault; infinite until then.
        tasks: its tasks; kept, because the garbage collector would close the coroutines of a dead process.
    """

    def __init__(self, loop, name):
        self._loop, self.name = loop, name
        self.life, self.kept, self.stopped_seconds = Life.RUNNING, [], 0.0
        self.tasks, self._most_tasks = [], _FEW_TASKS
        self.thawed_at, self.last_stop = -1e9, None
        self.first_read_at = float("inf")
        self._context = contextvars.copy_context()
        self._context.run(PROCESS.set, self)

    def start(self, coroutine):
        """Run a coroutine in a task of this process."""
        return self._loop.create_task(coroutine, context=self._context.copy())

    def keep(self, task):
        """Keep a task. Now and then, drop all ended tasks; dropping each one at its end would be slower."""
        self.tasks.append(task)
        if len(self.tasks) > self._most_tasks:
            self.tasks = [each for each in self.tasks if not each.done()]
            self._most_tasks = 2 * len(self.tasks) + _FEW_TASKS

    def freeze(self):
        """Stop the process, as SIGSTOP does."""
        if self.life is Life.RUNNING:
            self.life, self.last_stop = Life.FROZEN, (self._loop.time(), None)

    def thaw(self):
        """Let a stopped process continue; it now runs the callbacks that were kept meanwhile, in order."""
        if self.life is Life.FROZEN:
            self.life, self.thawed_at = Life.RUNNING, self._loop.time()
            self.last_stop = self.last_stop[0], self.thawed_at
            self._loop.requeue(self.kept)
            self.kept = []

    def kill(self):
        """End the process, as SIGKILL does."""
        self.life, self.kept = Life.DEAD, []


class DeadlockError(Exception):
    """Nothing is left to do, and no timer is set."""


class _Handle(list):
    """A list of a waiting callback, its arguments and its context. A list is made faster than other objects.

    It has what code uses of `asyncio.Handle` and `asyncio.TimerHandle`.
    """

    __slots__ = ()

    def cancel(self):
        """Make sure that the loop does not call the callback."""
        self[0] = self[1] = None

    def cancelled(self):
        """Return whether it was cancelled."""
        return self[0] is None


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks of different processes in an order that a seed determines.

    Callbacks of one process run in the order in which they were scheduled, as asyncio promises.

    Attributes:
        now: the virtual time in seconds.
    """

    def __init__(self, seed):
        super().__init__()
        self.now = 0.0
        self._order, self._timers, self._numbers = Random(seed), [], count()
        self._outside = contextvars.Context()
        self.get_debug = bool  # asyncio calls it for each future; `bool` is a fast function in C that returns False

    def time(self):
        """Return the virtual time in seconds."""
        return self.now

    def outside(self, delay, callback, *args):
        """Call a function of the world, outside of all processes, after a delay in seconds."""
        timer = _Handle((callback, args, self._outside))
        _push(self._timers, (self.now + delay, _next(self._numbers), timer))
        return timer

    def requeue(self, handles):
        """Make callbacks ready that were kept."""
        self._ready.extend(handles)

    def run_in_executor(self, executor, func, *args):
        """Call the function at once, because threads would make a run depend on real time."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def create_task(self, coro, *, name=None, context=None):
        """See `asyncio.AbstractEventLoop`; a process keeps its tasks."""
        task = _Task(coro, loop=self, name=name or "task", context=context)  # without a name, asyncio would number it
        process = _process() if context is None else context.get(PROCESS)
        if process is not None:
            process.keep(task)
        return task

    def call_soon(self, callback, *args, context=None):
        """See `asyncio.AbstractEventLoop`."""
        handle = _Handle((callback, args, _copy_context() if context is None else context))
        self._ready.append(handle)
        return handle

    def call_at(self, when, callback, *args, context=None):
        """See `asyncio.AbstractEventLoop`."""
        return self._set(when, callback, args, context)

    def call_later(self, delay, callback, *args, context=None):
        """See `asyncio.AbstractEventLoop`."""
        return self._set(self.now + delay, callback, args, context)

    def _set(self, when, callback, args, context):
        """Set a timer; tuples in the heap are compared faster than handles."""
        timer = _Handle((callback, args, _copy_context() if context is None else context))
        _push(self._timers, (when, _next(self._numbers), timer))
        return timer

    def _run_once(self):
        """Run callbacks until the loop is stopped; the method's name is that of the base class, which calls it."""
        ready, timers, now = self._ready, self._timers, self.now
        run, jump = self._run, self._jump
        while not self._stopping:
            if ready:
                while timers and timers[0][0] <= now:
                    ready.append(_pop(timers)[2])
            else:
                now = jump()
            if len(ready) == 1:
                handles = (ready.popleft(),)
            else:
                handles = self._permuted(list(ready))
                ready.clear()
            run(handles)

    def _run(self, handles):
        """Run callbacks, or keep those of processes that are stopped; those of dead processes are dropped."""
        for handle in handles:
            callback, args, context = handle
            if callback is None:
                continue
            process = context.get(PROCESS)
            if process is None:
                context.run(callback, *args)  # an error is a fault of the simulation
            elif process.life is _RUNNING:
                try:
                    context.run(callback, *args)
                except Exception as error:
                    self.call_exception_handler({"message": f"exception in {callback}", "exception": error})
            elif process.life is Life.FROZEN:
                process.kept.append(handle)

    def _jump(self):
        """Let the next timer's time come, make all callbacks of this time ready, and return the time."""
        ready, timers, now = self._ready, self._timers, self.now
        while timers:
            when, _, handle = _pop(timers)
            if handle[0] is None:
                continue
            if when > now:
                self.now = now = when
            ready.append(handle)
            while timers and timers[0][0] <= now:
                ready.append(_pop(timers)[2])
            return now
        raise DeadlockError("every task waits for another one")

    def _permuted(self, handles):
        owners = [handle[2].get(PROCESS) for handle in handles]
        if owners.count(owners[0]) == len(owners):
            return handles
        queues = {}
        for owner, handle in zip(owners, handles, strict=True):
            queues.setdefault(owner, deque()).append(handle)
        owners = [owner for owner, queue in queues.items() for _ in queue]
        self._order.shuffle(owners)
        return [queues[owner].popleft() for owner in owners]

    def _check_closed(self):
        """Do nothing, so that the remains of dead processes can be thrown away after the end."""

    def _process_events(self, event_list):
        """Do nothing, because there are no sockets."""

    def _write_to_self(self):
        """Do nothing, because there are no other threads."""
