"""One target that is dead for good, one that is flaky and one that is fine: each has its own end,
and whoever looks sees every attempt and why.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from sendpath_deployment import commands, count, until
from serve_process import event_body, serving, write_home
from service_server import Asked, Judge, Reply, ServiceServer, reply_json, reply_text

UNFINISHED = "SELECT count(*) FROM deliveries WHERE finalized_at IS NULL"


class Three(Judge):
    """By path: `/dead` is gone, `/flaky` fails twice and then takes it, `/fine` takes it."""

    def __init__(self) -> None:
        self.took: Counter[str] = Counter()
        self._failures = [
            reply_json(429, {"error": "slow down"}, Retry_After="1"),
            reply_text(503, "back in a minute"),
        ]

    def answer(self, asked: Asked) -> Reply:
        name = asked.path.strip("/")
        if name == "dead":
            return reply_json(404, {"error": "no_service"})
        if name == "flaky" and self._failures:
            return self._failures.pop(0)
        self.took[name] += 1
        return Reply(200)


def test_each_target_has_its_own_end_and_all_of_it_can_be_seen(
    tmp_path: Path, endpoints: ServiceServer
) -> None:
    judge = endpoints.judge = Three()
    urls = [f"json://{endpoints.address}/{name}" for name in ("dead", "flaky", "fine")]
    home = write_home(
        tmp_path / "home",
        settings=f"[channels.ops]\nurls = {urls!r}\nschedule = ['100ms']\n"
        '[[routes]]\nmatch = "test.*"\nnotify = "ops"\n',
    )
    with serving(home) as serve:
        status, answer = serve.post(event_body("x", "test.three"))
        assert status == 202
        until(lambda: count(home, UNFINISHED) == 0, "all have ended")
        assert serve.stop() == 0
    assert judge.took == {"fine": 1, "flaky": 1}

    ((_, listed), (shown_status, shown)) = commands(
        home,
        [
            ["deliveries", "list", "--json", "--event", answer["id"]],
            ["events", "show", answer["id"]],
        ],
        {},
    )
    found = {
        each["name"]: each
        for each in json.loads(listed)["deliveries"]
        if each["name"].startswith("ops/")
    }
    names = ["ops/1-json", "ops/2-json", "ops/3-json"]
    assert sorted(found) == names
    assert shown_status == 0
    for text in (*names, "dead", "succeeded", "404"):
        assert text in shown, text

    looks = [["deliveries", "show", found[name]["id"]] for name in names]
    details = commands(home, [[*look, "--json"] for look in looks], {})
    dead, flaky, fine = (json.loads(output) for _, output in details)
    assert (state(dead), attempts(dead)) == ("dead", [("permanent", 404)])
    assert "no_service" in json.dumps(dead)
    assert (state(flaky), attempts(flaky)) == (
        "succeeded",
        [("transient", 429), ("transient", 503), ("delivered", 200)],
    )
    assert "slow down" in json.dumps(flaky)
    assert "back in a minute" in json.dumps(flaky)
    assert (state(fine), attempts(fine)) == ("succeeded", [("delivered", 200)])

    for (_, text), words in zip(
        commands(home, looks, {}),
        (["404", "no_service"], ["429", "slow down", "503", "back in a minute"], ["succeeded"]),
        strict=True,
    ):
        for word in words:
            assert word in text, (word, text)


def state(shown: dict[str, Any]) -> str:
    return str(shown["state"])


def attempts(shown: dict[str, Any]) -> list[tuple[str, int | None]]:
    return [(each["outcome"], each["status_code"]) for each in shown["attempts"]]
