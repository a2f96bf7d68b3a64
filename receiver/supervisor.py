"""Several server processes on one listening socket and one database: starts, watches, stops them.

The supervisor holds the database's lock and does nothing else: a handler that takes its process
down takes down one member, and another one is started. Each member is told of the supervisor's
end by its link, a socket pair, so that none is left behind; and says by it, once a second, that
its loop is not blocked.
"""

import asyncio
import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from receiver.file_watch import FileWatch

log = structlog.get_logger("receiver.supervisor")

STEADY_SECONDS = 10.0
"""A member that has lived for so long is replaced at once when it dies."""
MAX_PAUSE_SECONDS = 30.0
"""The longest pause before one that keeps dying is started again."""
_KILL_AFTER_SECONDS = 5.0
"""Beyond the drain timeout: by then a member has ended itself, or never will."""
SILENCE_SECONDS = 5.0
"""Beyond its lease: a member that is silent for longer is killed."""
BEAT_SECONDS = 1.0
"""How often a member says that it is well."""
_READY = b"r"
_WELL = b"w"
_TAKEN = b"t"
_REFUSED = b"x"
_RELOAD = b"R"
_RELOAD_QUIETLY = b"Q"
RELOAD_SECONDS = 60.0
"""How long a member may take to reload."""


@dataclass(slots=True, eq=False)
class _Member:
    process: asyncio.subprocess.Process
    link: socket.socket
    reloads: int
    """How many there had been when it was started, or has since been told of."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    answers: "asyncio.Queue[bytes]" = field(default_factory=asyncio.Queue)
    """To each reload `_TAKEN` or `_REFUSED`; empty once it is gone."""


class Supervisor:
    """Keeps `count` members running. Run it once, on asyncio's own loop."""

    def __init__(
        self,
        command: Sequence[str],
        count: int,
        listener: socket.socket,
        *,
        console: socket.socket | None = None,
        drain_seconds: float,
        silent_seconds: float,
        on_ready: Callable[[], None],
        watch: FileWatch | None = None,
    ) -> None:
        """`command` starts a member; it gets `--listen-fd` and `--link-fd`, and `--console-fd` if
        there is a console's socket. All reload at SIGHUP and when the files change that are
        watched.

        One that says nothing for `silent_seconds` is killed: it could do no work either.
        """
        self._command = tuple(command)
        self._count = count
        self._listeners = {"--listen-fd": listener}
        if console is not None:
            self._listeners["--console-fd"] = console
        self._stop_seconds = drain_seconds + _KILL_AFTER_SECONDS
        self._silent_seconds = silent_seconds
        self._on_ready = on_ready
        self._watch = watch
        self._members: set[_Member] = set()
        self._reloads = 0
        self._reload_asked = asyncio.Event()
        self._stopping = asyncio.Event()
        self._status = 0

    async def run(self) -> int:
        """Serve until a signal asks to stop; the exit status.

        What the first member can't start with, wrong settings or a broken handler, ends it all
        with that member's status: the others would only say the same.
        """
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self._on_signal, each)
        loop.add_signal_handler(signal.SIGHUP, self._reload_asked.set)
        try:
            first = await self._start()
            if await self._wait_until_ready(first):
                await self._run_all(first)
            elif not self._stopping.is_set():
                return await first.process.wait() or 1
            else:
                await self._end(first)
        finally:
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(each)
        return self._status

    async def _run_all(self, first: _Member) -> None:
        members = [first, *[await self._start() for _ in range(1, self._count)]]
        keepers = [
            asyncio.create_task(self._keep(member), name=f"keep-member-{number}")
            for number, member in enumerate(members)
        ]
        for each in members[1:]:
            await self._wait_until_ready(each)
        self._on_ready()  # the first one accepts, even if another has to be replaced at once
        reloading = [asyncio.create_task(self._reload_when_asked(), name="reload")]
        if self._watch is not None:
            reloading.append(asyncio.create_task(self._look_at_files(self._watch), name="watch"))
        await self._stopping.wait()
        for task in reloading:
            task.cancel()
        await asyncio.gather(*reloading, return_exceptions=True)
        for listener in self._listeners.values():
            listener.close()
        _, late = await asyncio.wait(keepers, timeout=self._stop_seconds)
        if late:
            log.error("serve.workers_killed", count=len(late))
            self._kill_all()
            await asyncio.wait(late)

    async def _look_at_files(self, watch: FileWatch) -> None:
        async for _ in watch.changes():
            self._reload_asked.set()

    async def _reload_when_asked(self) -> None:
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            await self._reload()

    async def _reload(self) -> None:
        """Have one member reload, and then the others: if it refuses, none of them does."""
        self._reloads += 1
        is_taken = False
        for member in [each for each in self._members if each.ready.is_set()]:
            answer = await self._have_reload(member, _RELOAD_QUIETLY if is_taken else _RELOAD)
            if answer == _TAKEN:
                is_taken = True
            elif answer == _REFUSED and not is_taken:
                log.error("serve.reload_refused", remedy="all go on with the old settings")
                return
            elif is_taken:
                # The files have changed again since, or it is about to die.
                log.error(
                    "serve.reload_uneven",
                    pid=member.process.pid,
                    remedy="this one goes on with the old settings; reload again",
                )
        if is_taken:
            log.info("serve.reloaded", workers=len(self._members))

    async def _have_reload(self, member: _Member, ask: bytes) -> bytes:
        """What it answers; empty if nothing."""
        while not member.answers.empty():
            member.answers.get_nowait()
        member.reloads = self._reloads
        try:
            async with asyncio.timeout(RELOAD_SECONDS):
                await asyncio.get_running_loop().sock_sendall(member.link, ask)
                return await member.answers.get()
        except (OSError, TimeoutError):
            return b""

    async def _start(self) -> _Member:
        reloads = self._reloads
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        passed = {
            option: each.fileno()
            for option, each in {**self._listeners, "--link-fd": theirs}.items()
        }
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                *[f"{option}={descriptor}" for option, descriptor in passed.items()],
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=tuple(passed.values()),
                # Out of the terminal's group: Ctrl-C is for the supervisor, which passes it on
                # once. From the terminal as well it would be the second signal, which insists.
                process_group=0,
            )
        member = _Member(process, ours, reloads)
        self._members.add(member)
        return member

    async def _wait_until_ready(self, member: _Member) -> bool:
        """Whether it came to accept; False if it ended before, or the stop has begun."""
        loop = asyncio.get_running_loop()
        reading = asyncio.ensure_future(loop.sock_recv(member.link, 1))
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([reading, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not reading.done():
            reading.cancel()
            return False
        if is_ready := reading.exception() is None and reading.result() == _READY:
            member.ready.set()
        return is_ready

    async def _keep(self, member: _Member) -> None:
        """One member after the other in this place, until the stop."""
        loop = asyncio.get_running_loop()
        begun, failures = loop.time(), 0
        while not await self._end(member):
            failures = 0 if loop.time() - begun >= STEADY_SECONDS else failures + 1
            pause = min(MAX_PAUSE_SECONDS, 0.1 * 2**failures) if failures else 0.0
            log.error(
                "serve.worker_died",
                pid=member.process.pid,
                status=_describe(member.process.returncode),
                again_in_seconds=pause,
            )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
                return
            begun = loop.time()
            member = await self._start()
            if await self._wait_until_ready(member):
                log.info("serve.worker_replaced", pid=member.process.pid)
                if member.reloads != self._reloads:
                    # It may have read the files before the change that the others know of.
                    with contextlib.suppress(OSError):
                        member.link.send(_RELOAD_QUIETLY)

    async def _end(self, member: _Member) -> bool:
        """Wait until the member ends, and ask it to once the stop has begun; whether it has."""
        ending = asyncio.ensure_future(member.process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        listening = asyncio.ensure_future(self._listen_to(member))
        await asyncio.wait([ending, stopping], return_when=asyncio.FIRST_COMPLETED)
        is_asked = not ending.done()
        if is_asked:
            _send(member, signal.SIGTERM)
        status = await ending
        stopping.cancel()
        listening.cancel()
        member.answers.put_nowait(b"")
        await asyncio.gather(listening, return_exceptions=True)
        self._members.discard(member)
        member.link.close()
        # SIGTERM itself ends one that had only just begun.
        if is_asked and status not in (0, -signal.SIGTERM):
            self._status = 1
        return is_asked

    async def _listen_to(self, member: _Member) -> None:
        """Kill it if it falls silent: a handler blocks its loop for ever, or it stands still.

        Whatever it ran is another's by then, or soon, and three such deaths end a delivery.
        """
        loop = asyncio.get_running_loop()
        await member.ready.wait()
        said = _READY
        while said:
            try:
                async with asyncio.timeout(self._silent_seconds):
                    said = await loop.sock_recv(member.link, 64)
                for word in (_TAKEN, _REFUSED):
                    if word in said:
                        member.answers.put_nowait(word)
            except TimeoutError:
                # Not if this process stood still itself: then there is a word to read.
                if _has_said_something(member.link):
                    continue
                log.error("serve.worker_silent", pid=member.process.pid,
                          seconds=self._silent_seconds)  # fmt: skip
                _send(member, signal.SIGKILL)
                return
            except OSError:
                return

    def _on_signal(self, number: signal.Signals) -> None:
        """The first signal asks; the second one insists."""
        if self._stopping.is_set():
            log.warning("server.forced", signal=number.name)
            self._kill_all()
            # As a crash, which loses nothing: the next start takes up what was running.
            os._exit(1)
        self._stopping.set()

    def _kill_all(self) -> None:
        for member in self._members:
            _send(member, signal.SIGKILL)


def _send(member: _Member, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        member.process.send_signal(number)


def _has_said_something(link: socket.socket) -> bool:
    try:
        return bool(link.recv(64))
    except OSError:
        return False


def _describe(status: int | None) -> str:
    """`exit 1`, or the name of the signal that ended it."""
    assert status is not None, "it has ended"
    return signal.Signals(-status).name if status < 0 else f"exit {status}"


def _nothing(_tells: bool) -> None:
    pass


class Link:
    """A member's end of its link to the supervisor."""

    def __init__(self, fd: int, on_end: Callable[[], None], *, drain_seconds: float) -> None:
        """`on_end` is called on the loop when the supervisor is gone, and ends this process within
        `drain_seconds`. If it does not, because the loop is blocked, the process ends anyway.
        """
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)
        self._on_end = on_end
        self.on_reload: Callable[[bool], None] = _nothing
        """Called when this member has to reload, with whether it tells what that means."""
        self._end_seconds = drain_seconds + _KILL_AFTER_SECONDS

    def say_ready(self) -> None:
        """Tell the supervisor that this member accepts, and watch for its end from now on."""
        with contextlib.suppress(OSError):
            self._socket.send(_READY)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._look)
        self._beat(asyncio.get_running_loop())
        threading.Thread(target=self._end_anyway, name="supervisor-link", daemon=True).start()

    def say_reloaded(self, taken: bool) -> None:
        """Tell the supervisor whether a reload was taken."""
        with contextlib.suppress(OSError):
            self._socket.send(_TAKEN if taken else _REFUSED)

    def _end_anyway(self) -> None:
        gone = select.poll()
        gone.register(self._socket.fileno(), 0)  # the other side's end is always told
        gone.poll()
        time.sleep(self._end_seconds)
        log.error("server.does_not_stop", seconds=self._end_seconds)
        os._exit(1)  # as a crash, which loses nothing

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(_WELL)
        loop.call_later(BEAT_SECONDS, self._beat, loop)

    def _look(self) -> None:
        said = b""
        try:
            said = self._socket.recv(16)
            gone = said == b""
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            log.warning("server.supervisor_gone")
            self._on_end()
        elif said:
            self.on_reload(_RELOAD in said)
