"""`clarihook claribi …` against a sandbox over HTTP."""

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import uvicorn

from claribi.sandbox import Sandbox, create_app
from receiver.cli.claribi import app
from receiver.cli.claribi.show import bars, cell

Result = subprocess.CompletedProcess[str]
Clarihook = Callable[..., Result]


class Server(uvicorn.Server):
    """Says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


@dataclass
class Served:
    sandbox: Sandbox
    base_url: str


@pytest.fixture(scope="module")
def _served() -> Iterator[Served]:
    # So fast that a task is done at the first look, and no command waits for the second.
    app = create_app(speed=1e6)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(uvicorn.Config(app, log_level="critical", access_log=False))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            assert server.is_up.wait(30)
            yield Served(app.state.sandbox, f"http://127.0.0.1:{listener.getsockname()[1]}/api/")
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def served(_served: Served, tmp_path: Path) -> Served:
    """The sandbox as it starts, and a home whose settings lead to it."""
    _served.sandbox.reset()
    _served.sandbox.clear_faults()
    configure(tmp_path, _served, api_key="env:CLARIBI_API_KEY")
    return _served


def configure(home: Path, served: Served, **account: str) -> None:
    lines = [f'{name} = "{value}"' for name, value in account.items()]
    (home / "config").mkdir(exist_ok=True)
    text = "\n".join(["[claribi]", f'base_url = "{served.base_url}"', *lines])
    (home / "config/clarihook.toml").write_text(text)


@pytest.fixture
def claribi(clarihook_here: Clarihook, served: Served) -> Clarihook:
    def run(*arguments: str, key: str = served.sandbox.api_key) -> Result:
        return clarihook_here("claribi", *arguments, env={"CLARIBI_API_KEY": key})

    return run


def done(result: Result) -> str:
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_whoami(claribi: Clarihook) -> None:
    text = done(claribi("whoami"))
    assert "Jane Smith <user@example.com>" in text
    assert "Acme Corp" in text
    assert "1347" in text
    assert json.loads(done(claribi("whoami", "--json")))["organization"]["plan"] == "professional"


def test_sources(claribi: Clarihook, tmp_path: Path) -> None:
    text = done(claribi("sources", "list", "--type", "database", "--ordering", "name"))
    assert "Production PostgreSQL" in text
    assert "Google Analytics" not in text
    assert len(json.loads(done(claribi("sources", "list", "--limit", "3", "--json")))) == 3
    assert "orders, customers" in done(claribi("sources", "get", "1"))
    configuration = {"host": "db.example.com", "password": "made-up-password"}
    (tmp_path / "new.json").write_text(json.dumps(configuration))
    text = done(
        claribi(
            *("sources", "create", "New", "--type", "database", "--engine", "postgresql"),
            *("--configuration", "new.json", "--sync-frequency", "daily"),
        )
    )
    assert "db.example.com" in text
    assert "made-up-password" not in text
    assert "Sync started" in done(claribi("sources", "sync", "1"))
    assert "last synced" in done(claribi("sources", "sync", "2", "--wait", "--timeout", "60"))


def test_dashboards(claribi: Clarihook) -> None:
    assert "Revenue Overview" in done(claribi("dashboards", "list", "--workspace", "3"))
    assert "Monthly Revenue" in done(claribi("dashboards", "get", "1"))
    made = json.loads(done(claribi("dashboards", "create", "New", "--description", "d", "--json")))
    text = done(claribi("dashboards", "update", str(made["id"]), "--name", "Newer"))
    assert "Newer" in text
    assert "deleted" in done(claribi("dashboards", "delete", str(made["id"]), "--yes"))
    assert claribi("dashboards", "get", str(made["id"])).returncode == 1
    nothing = claribi("dashboards", "update", "1")
    assert nothing.returncode == 2
    assert "nothing to change" in nothing.stderr


def test_reports(claribi: Clarihook) -> None:
    assert "Weekly Sales Summary" in done(claribi("reports", "list", "--status", "published"))
    assert "sales_summary" in done(claribi("reports", "get", "1"))
    made = json.loads(
        done(
            claribi(
                *("reports", "create", "July", "--template", "sales_summary", "--source", "1"),
                *("--parameter", "date_range=last_30_days", "--json"),
            )
        )
    )
    assert made["status"] == "generating"
    waited = json.loads(done(claribi("reports", "wait", str(made["id"]), "--json")))
    assert waited["status"] == "published"
    assert "deleted" in done(claribi("reports", "delete", str(made["id"]), "--yes"))


def test_report_that_fails_ends_with_1(claribi: Clarihook, served: Served) -> None:
    served.sandbox.fail_next_job("report", "No data")
    result = claribi("reports", "create", "July", "--template", "sales_summary", "--wait")
    assert result.returncode == 1
    assert "No data" in result.stderr


def test_query_draws_a_chart(claribi: Clarihook) -> None:
    lines = done(claribi("query", "Top 5?", "--source", "1", "--format", "chart")).splitlines()
    bars_of = {line.split("  ")[0]: line.count("█") for line in lines if "█" in line}
    assert bars_of["Enterprise Plan"] == 40
    assert 0 < bars_of["Annual Upgrade"] < bars_of["Starter Plan"] < 40
    assert lines[-1].startswith("credits: 1 used, ")


def test_query_as_table_summary_and_json(claribi: Clarihook) -> None:
    assert "product_name" in done(claribi("query", "Top 5?"))
    assert "product_name" not in done(claribi("query", "Top 5?", "--format", "summary"))
    assert json.loads(done(claribi("query", "Top 5?", "--json")))["credits_used"] == 1


def test_usage_and_pricing(claribi: Clarihook) -> None:
    assert "AI credits" in done(claribi("usage"))
    assert json.loads(done(claribi("usage", "--json")))["ai_credits"]["total"] == 1500
    assert "Enterprise" in done(claribi("pricing"))
    assert len(json.loads(done(claribi("pricing", "--json")))["plans"]) == 4


def test_request(claribi: Clarihook, tmp_path: Path) -> None:
    text = done(claribi("request", "GET", "/api/reports/", "--param", "page_size=2"))
    assert len(json.loads(text)["results"]) == 2
    (tmp_path / "body.json").write_text('{"name": "Raw"}')
    made = json.loads(done(claribi("request", "POST", "dashboards/", "--data", "body.json")))
    assert made["name"] == "Raw"
    gone = done(claribi("request", "DELETE", f"dashboards/{made['id']}/"))
    assert gone == "204, no content\n"
    assert json.loads(done(claribi("request", "DELETE", "dashboards/2/", "--json"))) is None


def test_delete_asks(claribi: Clarihook, served: Served) -> None:
    """Nobody answers here, so nothing is deleted."""
    result = claribi("sources", "delete", "1")
    assert result.returncode == 2
    assert "Delete data source 1 (Production PostgreSQL)?" in result.stderr
    assert "--yes" in result.stderr
    assert served.sandbox.count_calls("DELETE") == 0
    assert "deleted data source 1" in done(claribi("sources", "delete", "1", "--yes"))


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("sources", "get", "99"), 1, "404 not_found"),
        (("sources", "get", "x"), 2, "valid int"),
        (
            ("sources", "create", "Production PostgreSQL", "--type", "api", "--engine", "e"),
            1,
            "409",
        ),
        (("dashboards", "create", ""), 1, "name: "),
        (("request", "GET", "//evil.example/"), 2, "relative"),
        (("request", "POST", "reports/", "--data", "missing.json"), 2, "missing.json"),
        (("request", "GET", "reports/", "--param", "x"), 2, "NAME=VALUE"),
        (("reports", "list", "--limit", "0"), 2, "limit"),
        (("no-such-command",), 2, "No such command"),
    ],
    ids=str,
)
def test_mistakes_end_in_a_clear_message(
    arguments: tuple[str, ...], status: int, text: str, claribi: Clarihook
) -> None:
    result = claribi(*arguments)
    assert result.returncode == status
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert "this is a bug" not in result.stderr


@pytest.mark.parametrize("group", ["sources", "dashboards", "reports"])
def test_deletion_as_json(group: str, claribi: Clarihook) -> None:
    gone = json.loads(done(claribi(group, "delete", "1", "--yes", "--json")))
    assert gone == {"id": 1, "already_gone": False}


def commands(group: Any, *names: str) -> Iterator[Any]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield pytest.param(command, id=" ".join([*names, name]))


@pytest.mark.parametrize("command", list(commands(typer.main.get_command(app))))
def test_every_command_takes_json(command: Any) -> None:
    assert "--json" in {option for each in command.params for option in each.opts}


def test_password_that_a_server_echoes_is_masked(claribi: Clarihook, served: Served) -> None:
    secret = "made-up-database-password"
    served.sandbox.state.data_sources[1].configuration["password"] = secret
    shown = done(claribi("sources", "get", "1", "--json"))
    assert secret not in shown
    assert set(json.loads(shown)["configuration"]["password"]) == {"*"}
    assert secret not in done(claribi("sources", "get", "1"))


def test_no_server_says_where_it_was_looked_for(
    claribi: Clarihook, served: Served, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nowhere = Served(served.sandbox, f"http://127.0.0.1:{listener.getsockname()[1]}/api/")
    configure(tmp_path, nowhere, api_key="env:CLARIBI_API_KEY")
    result = claribi("whoami")
    assert result.returncode == 1
    assert nowhere.base_url in result.stderr
    assert "claribi.base_url" in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_key_says_where_to_look(claribi: Clarihook) -> None:
    result = claribi("whoami", key="claribi_sk_test_unknown")
    assert result.returncode == 1
    assert "clarihook config show" in result.stderr
    assert "claribi_sk_test_unknown" not in result.stderr


def test_missing_account_says_what_to_set(
    clarihook: Clarihook, served: Served, tmp_path: Path
) -> None:
    configure(tmp_path, served)
    result = clarihook("claribi", "whoami")
    assert result.returncode == 2
    assert "claribi.api_key" in result.stderr


def test_login_with_totp_from_the_settings(
    clarihook: Clarihook, served: Served, tmp_path: Path
) -> None:
    secret = served.sandbox.totp_secret
    configure(tmp_path, served, email="mfa@example.com", password="mfa-password", totp=secret)
    result = clarihook("claribi", "whoami")
    assert result.returncode == 0
    assert "mfa@example.com" in result.stdout


def test_lost_report_is_looked_up(claribi: Clarihook, served: Served) -> None:
    served.sandbox.fail_next(1, status=504, after=True, path="reports/")
    result = claribi("reports", "create", "Lost", "--template", "sales_summary")
    assert result.returncode == 1
    assert "looked up: 1 found" in result.stderr


def test_bars_are_in_proportion() -> None:
    assert [len(bar) for bar in bars([400, 100, 0, -200])] == [40, 10, 0, 20]
    assert bars([]) == []
    assert bars([0, 0]) == ["", ""]


def test_cells_are_readable() -> None:
    assert [cell(value) for value in (None, True, 1234.5, ["a", 1], 7)] == [
        "-", "yes", "1,234.50", "a, 1", "7",
    ]  # fmt: skip
