"""A network of which only reads go out: what would change something is kept and made up for."""

import json
from collections.abc import Mapping
from typing import Any

import httpx2

from receiver.testing.answers import Answers, ApiCall, response_of

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_KEPT = 1_000


class CapturedNetwork(httpx2.AsyncBaseTransport):
    """Answers writes itself, and reads from the network or from recorded answers.

    Each address is read once; whoever asks again gets the same answer. Logging in goes out, or no
    read could.
    """

    def __init__(self, base_url: str = "", *, answers: Answers | None = None) -> None:
        """With `answers` nothing goes out: what they lack is a 404. What is under `base_url` is
        named by what follows it, all else by its whole address.
        """
        self._base_url = base_url
        self._answers = answers
        self._outside = None if answers is not None else httpx2.AsyncHTTPTransport()
        self._kept: dict[str, httpx2.Response] = {}
        self.writes: list[ApiCall] = []
        """What would have been asked for, in order; take them away after each run."""
        self.recorded: dict[str, Any] = {}
        """The answers to what went out, as `answers` takes them."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The answer."""
        await request.aread()
        path = str(request.url).removeprefix(self._base_url)
        bare = path.partition("?")[0]
        if request.method not in _READS and not bare.startswith("auth/"):
            call = ApiCall(method=request.method, path=bare, json=_json(request.content))
            self.writes.append(call)
            return response_of((self._answers or {}).get(str(call), _made_up(call)))
        key = f"{request.method} {path}"
        if self._answers is not None:
            short = f"{request.method} {bare}"
            return response_of(self._answers.get(key, self._answers.get(short, 404)))
        return await self._read(key, request)

    async def _read(self, key: str, request: httpx2.Request) -> httpx2.Response:
        if request.method not in _READS:
            assert self._outside is not None, "without answers there is a network"
            return await self._outside.handle_async_request(request)
        kept = self._kept.get(str(request.url))
        if kept is None:
            kept = await self._fetch(key, request)
            if len(self._kept) < _MOST_KEPT:
                self._kept[str(request.url)] = kept
        # Made anew: a response can be read only once.
        return httpx2.Response(
            kept.status_code, headers=kept.headers, stream=httpx2.ByteStream(kept.content)
        )

    async def _fetch(self, key: str, request: httpx2.Request) -> httpx2.Response:
        assert self._outside is not None, "without answers there is a network"
        request.headers["accept-encoding"] = "identity"
        answer = await self._outside.handle_async_request(request)
        try:
            content = await answer.aread()
        finally:
            await answer.aclose()
        # It is unpacked by now, and whole.
        headers = [
            pair
            for pair in answer.headers.multi_items()
            if pair[0] not in ("content-encoding", "content-length", "transfer-encoding")
        ]
        value = _json(content)
        self.recorded[key] = value if answer.status_code == 200 else [answer.status_code, value]
        return httpx2.Response(answer.status_code, headers=headers, content=content)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._outside is not None:
            await self._outside.aclose()


def _made_up(call: ApiCall) -> Any:
    """What clariBI would answer, as far as it can be told: the thing itself, accepted."""
    if call.method == "DELETE":
        return 204, None
    number = next((int(part) for part in reversed(call.path.split("/")) if part.isdecimal()), 0)
    given = call.json if isinstance(call.json, Mapping) else {}
    status = "generating" if call.path.startswith("reports/") else "active"
    return {"id": number, "status": status, **given}


def _json(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return content.decode(errors="replace")
