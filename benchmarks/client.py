"""What the client costs: `data_sources.get` against bare httpx2 and `json.loads`.

    python benchmarks/client.py --rounds 5 --calls 1000

Both ask the same sandbox, which runs in a process of its own, over one kept connection. In each
round the two take turns in short batches, so that a busy machine slows both alike. The bar: the
median of the rounds' ratios is at most 1.3.
"""

import argparse
import asyncio
import json
import multiprocessing
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import httpx2
import uvicorn

from claribi import AsyncClariBI, ClariBI
from claribi.sandbox import create_app

BAR = 1.3
BATCH = 50
KEY = "claribi_sk_test_administrator"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000)
    options = parser.parse_args()
    with sandbox() as base_url:
        results = {
            "ClariBI": [blocking(base_url, options.calls) for _ in range(options.rounds)],
            "AsyncClariBI": [
                asyncio.run(asynchronous(base_url, options.calls)) for _ in range(options.rounds)
            ],
        }
    print(f"{'':14}{'bare httpx2':>14}{'client':>12}{'ratio':>8}   (median of {options.rounds})")
    is_met = True
    for name, rounds in results.items():
        bare, ours = (statistics.median(one[i] for one in rounds) for i in (0, 1))
        ratio = statistics.median(one[1] / one[0] for one in rounds)
        is_met &= ratio <= BAR
        print(f"{name:14}{bare * 1e6:11.0f} us{ours * 1e6:9.0f} us{ratio:8.2f}")
    print(f"the bar of {BAR} is {'met' if is_met else 'MISSED'}")
    return 0 if is_met else 1


def blocking(base_url: str, calls: int) -> tuple[float, float]:
    """Seconds per call: bare, and through the client."""
    url = f"{base_url}data-sources/1/"
    headers = {"X-API-Key": KEY}
    with httpx2.Client(headers=headers) as bare, ClariBI(base_url=base_url, api_key=KEY) as client:

        def ask_bare() -> object:
            return json.loads(bare.get(url).content)

        def ask_client() -> object:
            return client.data_sources.get(1)

        totals = [0.0, 0.0]
        for batch in range(calls // BATCH + 1):
            for index, ask in enumerate((ask_bare, ask_client)):
                began_at = time.perf_counter()
                for _ in range(BATCH):
                    ask()
                if batch:  # the first one warms up
                    totals[index] += time.perf_counter() - began_at
    made = calls // BATCH * BATCH
    return totals[0] / made, totals[1] / made


async def asynchronous(base_url: str, calls: int) -> tuple[float, float]:
    """Seconds per call: bare, and through the client."""
    url = f"{base_url}data-sources/1/"
    async with (
        httpx2.AsyncClient(headers={"X-API-Key": KEY}) as bare,
        AsyncClariBI(base_url=base_url, api_key=KEY) as client,
    ):

        async def ask_bare() -> object:
            return json.loads((await bare.get(url)).content)

        async def ask_client() -> object:
            return await client.data_sources.get(1)

        asks: tuple[Callable[[], Awaitable[object]], ...] = (ask_bare, ask_client)
        totals = [0.0, 0.0]
        for batch in range(calls // BATCH + 1):
            for index, ask in enumerate(asks):
                began_at = time.perf_counter()
                for _ in range(BATCH):
                    await ask()
                if batch:  # the first one warms up
                    totals[index] += time.perf_counter() - began_at
    made = calls // BATCH * BATCH
    return totals[0] / made, totals[1] / made


@contextmanager
def sandbox() -> Iterator[str]:
    """The API's base URL of a sandbox that runs until the end of the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,))
    process.start()
    try:
        if not ours.poll(30):
            raise SystemExit("the sandbox did not start")
        yield f"http://127.0.0.1:{ours.recv()}/api/"
    finally:
        process.terminate()
        process.join(30)


def serve(ready: Connection) -> None:
    """Run the sandbox on a free port, and say which; connections may come at once."""
    config = uvicorn.Config(create_app(), access_log=False, log_level="warning")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ready.send(listener.getsockname()[1])
        uvicorn.Server(config).run([listener])


if __name__ == "__main__":
    sys.exit(main())
