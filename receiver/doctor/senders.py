"""Clients that load a server with unique, signed events until it is gone, and keep its answers."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from receiver.doctor.throwaway import EVENT, SOURCE
from receiver.signatures import Scheme

_ANSWER_SECONDS = 30.0


@dataclass
class Answers:
    """What the server has said, over all rounds."""

    accepted: dict[str, bytes] = field(default_factory=dict)
    """The bodies of the events that it has acknowledged, by id."""
    latencies_ms: list[float] = field(default_factory=list)
    """Of each acknowledgement, from the request's first byte to the answer's last."""
    cut: int = 0
    """Requests that were sent and never answered: they may be stored or not."""
    refused: int = 0
    """Answers that were no acceptance."""


class Senders:
    """So many clients, each with a connection of its own and one request at a time."""

    def __init__(self, scheme: Scheme, answers: Answers, *, clients: int) -> None:
        self._scheme = scheme
        self._answers = answers
        self._clients = clients
        self._number = 0

    async def load(self, port: int, *, until: Callable[[], bool]) -> None:
        """Send until the condition holds or the server is gone."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(self._send_on(port, until))

    async def _send_on(self, port: int, until: Callable[[], bool]) -> None:
        writer: asyncio.StreamWriter | None = None
        is_sent = False
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while not until():
                body = self._body()
                request = self._request(body)
                begun = time.perf_counter()
                is_sent = True
                writer.write(request)
                async with asyncio.timeout(_ANSWER_SECONDS):
                    status, answer = await _read_answer(reader)
                is_sent = False
                self._note(status, answer, body, (time.perf_counter() - begun) * 1000)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self._answers.cut += is_sent
        finally:
            if writer is not None:
                writer.transport.abort()

    def _body(self) -> bytes:
        self._number += 1
        return json.dumps({"event": EVENT, "data": {"number": self._number}}).encode()

    def _request(self, body: bytes) -> bytes:
        signed = self._scheme.sign(body, message_id=f"msg_{self._number}", now=time.time())
        lines = [
            f"POST /hooks/{SOURCE} HTTP/1.1",
            "Host: 127.0.0.1",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in signed),
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    def _note(self, status: int, answer: bytes, body: bytes, milliseconds: float) -> None:
        if status != 202:
            self._answers.refused += 1
            return
        self._answers.accepted[json.loads(answer)["id"]] = body
        self._answers.latencies_ms.append(milliseconds)


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)
