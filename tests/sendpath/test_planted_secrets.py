"""Secrets in every part of every kind of URL, a server at log level debug, all that can go wrong
with a send: none of them in its log, its database, its answers or any command's output.
"""

import base64
import http.client
import json
from pathlib import Path
from urllib.parse import quote

from notify_endpoints import Mail
from sendpath_deployment import commands, count, environment, until
from serve_process import Serve, event_body, serving, write_home
from service_forms import texts_of
from service_server import Asked, Judge, Reply, ServiceServer, reply_json

USER, PASSWORD = "PLANTEDuser", "PLANTED/päss word"
TOKEN = "PLANTEDtoken0123456789abcdef"
UNFINISHED = "SELECT count(*) FROM deliveries WHERE finalized_at IS NULL"

CRASH = """
import logging, pathlib, requests
logging.getLogger("urllib3.connectionpool").setLevel(logging.DEBUG)
send = requests.Session.send
def maybe(self, request, **options):
    if pathlib.Path({flag!r}).exists():
        raise RuntimeError(f"a bug with {{request.url}} {{dict(request.headers)}}") from KeyError(request.url)
    return send(self, request, **options)
requests.Session.send = maybe
"""  # noqa: E501


def urls(address: str, mail_port: int) -> dict[str, str]:
    login = f"{USER}:{quote(PASSWORD, safe='')}"
    query = (
        f"?+Authorization=Bearer%20{TOKEN}&%2BX-Key=PLANTEDheader&-token=PLANTEDparam"
        f"&:field=PLANTEDpayload&plain=PLANTEDvalue#PLANTEDfragment"
    )
    return {
        "json": f"json://{login}@{address}/PLANTEDpath/{TOKEN}/{query}",
        "form": f"form://{login}@{address}/PLANTEDpath/{quote(PASSWORD, safe='')}/{query}",
        "xml": f"xml://{login}@{address}/PLANTEDpath/{query}",
        "upper": f"JSON://{USER}@{address}/planted-lower/PLANTED-UPPER/?+x-auth-token=PlAnTeDmixed",
        "slack": f"slack://PLANTEDAA/PLANTEDBB/{TOKEN[:24]}",
        "bot": f"slack://xoxb-1234-1234-{TOKEN.lower()}/#PLANTEDchannel",
        "discord": f"discord://PLANTEDbot@PLANTED1234567890/{TOKEN}?thread=PLANTEDthread",
        "telegram": f"tgram://123456789:{TOKEN}/12315544",
        "teams": "https://prod-1.westeurope.logic.azure.com:443/workflows/PLANTEDworkflow/triggers/"
        "manual/paths/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0"
        f"&sig={quote('PLANTED+sig/nature=', safe='')}",
        "ntfy": f"ntfy://{login}@{address}/PLANTEDtopic?click=http://{TOKEN}.example/",
        "ntfy2": f"ntfy://tk_{TOKEN[:29]}@{address}/PLANTEDtopic?auth=token",
        "gotify": f"gotify://{address}/PLANTEDdir/{TOKEN[:15]}",
        "mattermost": f"mmost://PLANTEDbot@{address}/PLANTEDdir/{TOKEN[:24]}",
        "rocket": f"rocket://{TOKEN[:17]}%2F{'PLANTED' * 6}@{address}/%23PLANTEDroom?mode=webhook",
        "matrix": f"matrix://{login}@{address}/!PLANTEDroom:localhost",
        "mail": f"mailto://{USER}:PLANTEDpass@127.0.0.1:{mail_port}/?to=PLANTEDto@example.com&from=PLANTEDfrom@example.com"
        "&mode=insecure",
    }


class Echo(Judge):
    """Answers with what it was asked, as careless proxies do; or not at all."""

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.last: list[Asked] = []

    def answer(self, asked: Asked) -> Reply:
        self.last.append(asked)
        if self.reply is not None and self.reply.fault:
            return self.reply
        status = 200 if self.reply is None else self.reply.status
        said = texts_of(asked)
        answer = {
            "ok": status == 200,
            "error": said.lower() if status == 503 else said,
            "access_token": f"syt_{TOKEN}",
            "user_id": f"@{USER}:localhost",
            "device_id": "D",
            "event_id": "$1",
        }
        return reply_json(status, answer, X_Echo=quote(asked.path))


def planted(text: bytes) -> list[bytes]:
    """Where a secret shows, in any form."""
    lower = text.lower()
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode())
    needles = [b"planted", quote("PLANTED/päss", safe="").lower().encode(), "päss".encode()]
    found = [lower[max(0, at - 40) : at + 40] for each in needles if (at := lower.find(each)) >= 0]
    found += [each for each in (basic, basic.rstrip(b"=")[:-2]) if each in text]
    # Inside other base64, at any of its three offsets.
    for shift in range(3):
        code = base64.b64encode(bytes(shift) + TOKEN.encode())[shift + 1 : -4]
        found += [code] if code in text else []
    return found


def health(serve: Serve) -> bytes:
    assert serve.address is not None
    connection = http.client.HTTPConnection(*serve.address, timeout=20)
    connection.request("GET", "/health")
    answer = connection.getresponse().read()
    connection.close()
    return answer


def test_no_secret_of_a_url_comes_out_anywhere(
    tmp_path: Path, endpoints: ServiceServer, mail: Mail
) -> None:
    judge = Echo()
    endpoints.judge = judge
    channels = urls(endpoints.address, mail.port)
    settings = '[log]\nlevel = "debug"\n[server]\ndrain_timeout = "1s"\n' + "".join(
        f"[channels.{name}]\nurls = [{json.dumps(url)}]\ntimeout = '1500ms'\nattempts = 1\n"
        "circuit_failures = 0\n"
        for name, url in channels.items()
    )
    settings += f'[[routes]]\nmatch = "load.*"\nnotify = {json.dumps([*channels])}\n'
    home = write_home(tmp_path / "home", settings=settings)
    flag = tmp_path / "crash"
    around = environment(endpoints, tmp_path, more=CRASH.format(flag=str(flag)))
    events = []
    with serving(home, environment=around) as serve:
        for number, reply in enumerate([None, Reply(401), Reply(503), Reply(fault="hang")]):
            judge.reply = reply
            status, answer = serve.post(event_body(f"one-{number}"))
            assert status == 202
            events.append(answer["id"])
            until(lambda: count(home, UNFINISHED) == 0, f"all have ended: {serve.said[-2000:]}")
        flag.touch()
        serve.post(event_body("crash"))
        until(lambda: count(home, UNFINISHED) == 0, "all have ended")
        flag.unlink()
        seen = [health(serve)]
        query = ["deliveries", "list", "--json", "--state", "dead", "--limit", "100"]
        ((_, listed),) = commands(home, [query], around)
        dead = {each["name"]: each["id"] for each in json.loads(listed)["deliveries"]}
        assert dead.keys() >= {f"{name}/1-{kind}" for name, kind in [("json", "json")]}
        judge.reply = Reply(401)
        words = [
            ["channels", "list"],
            ["channels", "test", *channels],
            ["channels", "test", "--json", "json"],
            ["config", "show"],
            ["config", "check"],
            ["deliveries", "list"],
            ["deliveries", "list", "--json"],
            *(["deliveries", "show", each] for each in [*dead.values()][::5]),
            *(["events", "show", each] for each in events[1:3]),
            ["doctor"],
        ]
        outputs = commands(home, words, around)
        # Cut off in the middle of its sends: what is in the WAL then stays there.
        judge.reply = Reply(fault="hang")
        serve.post(event_body("killed"))
        until(lambda: count(home, UNFINISHED) > 0, "it sends")
        files = {path: path.read_bytes() for path in (home / "data").iterdir() if path.is_file()}
        serve.kill()
        said = serve.said
    assert any("PLANTED" in texts_of(asked) for asked in judge.last), "they were really used"
    assert "urllib3.connectionpool" in said, "the log is chatty"
    for (status, output), each in zip(outputs, words, strict=True):
        assert "Traceback" not in output, (each, output)
        # One address has no valid signature, which config check says.
        assert status in ((2,) if each == ["config", "check"] else (0, 1)), (each, output)
        assert planted(output.encode()) == [], each
    assert planted(said.encode()) == []
    assert planted(b"".join(seen)) == []
    assert {path.name for path in files} >= {"clarihook.db", "clarihook.db-wal"}
    for path, content in files.items():
        assert planted(content) == [], path.name
    attempts = "SELECT count(*) FROM attempts WHERE error IS NOT NULL"
    assert count(home, attempts) > 40, "all of it really failed"
