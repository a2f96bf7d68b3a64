"""Thirty targets that accept and never answer: nobody else notices, and the process can stop."""

from pathlib import Path

from sendpath_deployment import count, until
from serve_process import Serve, event_body, serving, write_home
from service_server import Asked, Judge, Reply, ServiceServer

HANGING = 30
MESSAGES = 20
HANDLER = """
from receiver import Context, on


@on("test.all")
async def tell_all(event: dict, ctx: Context) -> None:
    ctx.notify("bad", title="x", body="x")


@on("test.good")
async def tell(event: dict, ctx: Context) -> None:
    ctx.notify("good", title="x", body="x")
"""
SENT = "SELECT count(*) FROM deliveries WHERE name = 'good/1-json' AND state = 'succeeded'"
UNDER_WAY = "SELECT count(*) FROM deliveries WHERE name LIKE 'bad/%' AND state = 'running'"
CUT_OFF = """
SELECT count(*) FROM attempts JOIN deliveries ON deliveries.id = attempts.delivery_id
WHERE deliveries.name LIKE 'bad/%' AND outcome = 'unknown'
"""


class Hang(Judge):
    """Takes what is for `/good`, and never answers the rest."""

    def answer(self, asked: Asked) -> Reply:
        return Reply(200) if asked.path.startswith("/good") else Reply(fault="hang")


def threads(serve: Serve) -> int:
    status = Path(f"/proc/{serve.process.pid}/status").read_text("ascii")
    return int(status.partition("Threads:")[2].split()[0])


def test_a_healthy_target_is_served_while_thirty_hang_and_the_process_stops(
    tmp_path: Path, endpoints: ServiceServer
) -> None:
    endpoints.judge = Hang()
    urls = [f"json://{endpoints.address}/bad/{number}" for number in range(HANGING)]
    home = write_home(
        tmp_path / "home",
        handlers=HANDLER,
        settings='[server]\ndrain_timeout = "1s"\n'
        f'[channels.bad]\nurls = {urls!r}\ntimeout = "1h"\n'
        f'[channels.good]\nurls = ["json://{endpoints.address}/good"]\n',
    )
    with serving(home) as serve:
        serve.post(event_body("first", "test.good"))
        until(lambda: count(home, SENT) == 1, "the first one is sent")
        calm = threads(serve)
        assert serve.post(event_body("all", "test.all"))[0] == 202
        until(lambda: len(endpoints.asked) == HANGING + 1, "all of them hang")
        for number in range(MESSAGES):
            assert serve.post(event_body(f"{number}", "test.good"))[0] == 202
        until(lambda: count(home, SENT) == MESSAGES + 1, "the healthy target has all")
        assert count(home, UNDER_WAY) == HANGING, "and waited for none of the others"
        assert threads(serve) <= calm + HANGING + 2
        # More for those that hang gets no more threads.
        assert serve.post(event_body("all again", "test.all"))[0] == 202
        serve.post(event_body("last", "test.good"))
        until(lambda: count(home, SENT) == MESSAGES + 2, "the last one is sent")
        assert threads(serve) <= calm + HANGING + 2
        assert not endpoints.release.is_set(), "they hang to the end"
        assert serve.stop() == 0
        assert "Traceback" not in serve.said
    assert count(home, CUT_OFF) == HANGING, "each says that it may have arrived"
