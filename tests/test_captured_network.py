"""Only reads go out; what would change something is kept, and answered as if it had been done."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx2
import pytest

from claribi import AsyncClariBI, NotFoundError
from receiver.testing import Answers
from receiver.testing.captured import CapturedNetwork

SHOP = {"id": 7, "name": "Shop", "type": "api", "engine": "shopify", "status": "active"}


class Api:
    """clariBI as far as these tests go. It keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        api = self

        class Answer(BaseHTTPRequestHandler):
            def answer(self, status: int, value: Any) -> None:
                api.requests.append(f"{self.command} {self.path}")
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                found = self.path.partition("?")[0] == "/api/data-sources/7/"
                self.answer(200 if found else 404, SHOP if found else {"error": "not_found"})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.answer(200, {"access": "a.b.c", "refresh": "d.e.f"})

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        Thread(target=self.server.serve_forever, daemon=True).start()
        self.base_url = f"http://127.0.0.1:{self.server.server_port}/api/"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    try:
        yield api
    finally:
        api.close()


def use(
    network: CapturedNetwork,
    base_url: str,
    story: Callable[[AsyncClariBI], Awaitable[None]],
    **credentials: Any,
) -> None:
    async def main() -> None:
        given = credentials or {"api_key": "claribi_sk_x"}
        async with AsyncClariBI(base_url=base_url, transport=network, retries=0, **given) as client:
            await story(client)

    asyncio.run(main())


def test_reads_go_out_once_and_writes_do_not(api: Api) -> None:
    network = CapturedNetwork(api.base_url)

    async def story(client: AsyncClariBI) -> None:
        for _ in range(2):
            assert (await client.data_sources.get(7)).name == "Shop"
            with pytest.raises(NotFoundError):
                await client.data_sources.get(8)
        await client.data_sources.sync(7)
        created = await client.data_sources.create(name="New", type="api", engine="shopify")
        assert (created.name, created.status) == ("New", "active")
        assert (await client.dashboards.update(3, name="Board", description="x")).id == 3
        report = await client.reports.create(name="R", template="executive_summary")
        assert report.status == "generating"
        await client.data_sources.delete(7)

    use(network, api.base_url, story)
    assert api.requests == ["GET /api/data-sources/7/", "GET /api/data-sources/8/"]
    assert [str(call) for call in network.writes] == [
        "POST data-sources/7/sync/", "POST data-sources/", "PUT dashboards/3/", "POST reports/",
        "DELETE data-sources/7/",
    ]  # fmt: skip
    assert network.writes[1].json == {"name": "New", "type": "api", "engine": "shopify"}
    assert network.recorded == {
        "GET data-sources/7/": SHOP, "GET data-sources/8/": [404, {"error": "not_found"}],
    }  # fmt: skip


def test_a_login_goes_out_or_nothing_could_be_read(api: Api) -> None:
    network = CapturedNetwork(api.base_url)

    async def story(client: AsyncClariBI) -> None:
        await client.data_sources.get(7)

    use(network, api.base_url, story, email="a@b.c", password="x")
    assert api.requests == ["POST /api/auth/login/", "GET /api/data-sources/7/"]
    assert network.writes == []
    assert list(network.recorded) == ["GET data-sources/7/"]


@pytest.mark.parametrize("key", ["GET data-sources/7/", "GET data-sources/7/?a=b"])
def test_with_answers_nothing_goes_out(api: Api, key: str) -> None:
    answers: Answers = {key: SHOP, "POST data-sources/7/sync/": (202, {"task_id": "t"})}
    network = CapturedNetwork(api.base_url, answers=answers)

    async def story(client: AsyncClariBI) -> None:
        asked = await client.raw.request("GET", "data-sources/7/", params={"a": "b"})
        assert asked.json() == SHOP
        assert (await client.data_sources.sync(7)).task_id == "t"
        with pytest.raises(NotFoundError):
            await client.data_sources.get(8)

    use(network, api.base_url, story)
    assert api.requests == []


def test_any_other_address_is_named_whole(api: Api) -> None:
    network = CapturedNetwork()
    url = f"{api.base_url}data-sources/7/"

    async def main() -> None:
        async with httpx2.AsyncClient(transport=network) as client:
            assert (await client.get(url)).json() == SHOP
            assert (await client.post(url, json={"a": 1})).status_code == 200

    asyncio.run(main())
    assert api.requests == ["GET /api/data-sources/7/"]
    assert [str(call) for call in network.writes] == [f"POST {url}"]
    assert list(network.recorded) == [f"GET {url}"]
