"""Loading settings: four layers, every fault at once with its place, and failing closed."""

import contextlib
import stat
import string
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.durations import format_duration, parse_duration
from receiver.errors import ConfigError
from receiver.model import Severity
from receiver.rate import Rate
from receiver.retry import DEFAULT_SCHEDULE_SECONDS, Backoff, RetryOptions
from receiver.settings import Settings, load, load_settings
from receiver.settings.locate import locate
from receiver.settings.secrets import sensitive_values

SECRET = "made-up-secret-for-tests"
SOURCE = {"scheme": "claribi", "secrets": [SECRET]}
CHANNEL = {"urls": ["file://m.jsonl"]}

DESIGN_EXAMPLE = """\
[server]
host = "127.0.0.1"
port = 8000

[store]
url = "sqlite:///data/clarihook.db"
keep = "90d"

[handlers]
paths = ["handlers"]

[sources.claribi]
scheme = "claribi"
secrets = ["env:CLARIBI_WEBHOOK_SECRET"]

[claribi]
base_url = "https://claribi.com/api/"
api_key = "env:CLARIBI_API_KEY"

[channels.ops]
urls = ["env:OPS_SLACK_URL", "mailto://user:pass@example.com"]
rate = "1/s"

[[routes]]
match = "billing.*"
when = "event.data.remaining < 100"
notify = ["ops"]
severity = "warning"
"""
DESIGN_ENVIRON = {
    "CLARIBI_WEBHOOK_SECRET": SECRET,
    "CLARIBI_API_KEY": "made-up-api-key",
    "OPS_SLACK_URL": "slack://made/up/tokens",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is also the working directory, so that problems name the file briefly."""
    (tmp_path / "config").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(home: Path, text: str) -> None:
    (home / "config/clarihook.toml").write_text(text)


def problems(home: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    write(home, text)
    with pytest.raises(ConfigError) as caught:
        load_settings(home, environ or {})
    return list(caught.value.problems)


def problems_of(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Settings.from_dict(data)
    return list(caught.value.problems)


class TestValues:
    def test_design_example_loads(self, home: Path) -> None:
        write(home, DESIGN_EXAMPLE)
        settings = load_settings(home, DESIGN_ENVIRON)
        assert settings.store.keep == timedelta(days=90)
        assert settings.sources["claribi"].secrets[0].get_secret_value() == SECRET
        assert settings.channels["ops"].rate == Rate(1, 1)
        assert settings.routes[0].severity is Severity.WARNING
        assert settings.sqlite_path == home / "data/clarihook.db"

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("250ms", 0.25),
            ("30s", 30),
            ("5m", 300),
            ("1h", 3600),
            ("1h30m", 5400),
            ("90d", 7_776_000),
            ("2w", 1_209_600),
            ("1.5h", 5400),
            (45, 45),
            (0.5, 0.5),
            ("45", 45),
            (0, 0),
        ],
    )
    def test_durations(self, text: str | float, seconds: float) -> None:
        assert parse_duration(text) == timedelta(seconds=seconds)

    @pytest.mark.parametrize(
        "value",
        [
            *("", "-5s", "5 minutes", "s", "5y", "nan", "٣s", "1e3s", "9" * 400 + "s"),
            *(-1, float("inf"), float("nan"), True, None, []),
        ],
    )
    def test_what_is_no_duration_is_refused(self, value: Any) -> None:
        with pytest.raises(ValueError, match="write a duration"):
            parse_duration(value)

    @given(st.integers(min_value=0, max_value=10**12))
    def test_a_formatted_duration_reads_back(self, milliseconds: int) -> None:
        span = timedelta(milliseconds=milliseconds)
        assert parse_duration(format_duration(span)) == span

    def test_settings_are_frozen(self) -> None:
        settings = Settings.from_dict({})
        with pytest.raises(ValueError, match="frozen"):
            settings.server.port = 1  # type: ignore[misc]

    def test_an_absolute_sqlite_path_has_four_slashes(self) -> None:
        settings = Settings.from_dict({"store": {"url": "sqlite:////var/x.db"}}, home="/srv")
        assert settings.sqlite_path == Path("/var/x.db")

    def test_postgresql_has_no_sqlite_path(self) -> None:
        assert Settings.from_dict({"store": {"url": "postgresql://h/db"}}).sqlite_path is None


class TestLayers:
    def test_flag_beats_environment_beats_file_beats_default(self, home: Path) -> None:
        write(home, f'[server]\nport = 1\n[sources.a]\nscheme = "github"\nsecrets = "{SECRET}"')
        environ = {"CLARIHOOK_SERVER__PORT": "2"}
        assert Settings.from_dict({}).server.port == 8000
        assert load_settings(home, {}).server.port == 1
        assert load_settings(home, environ).server.port == 2
        assert load_settings(home, environ, {"server.port": 3}).server.port == 3

    def test_a_flag_that_was_not_given_changes_nothing(self, home: Path) -> None:
        write(home, "[server]\nport = 1")
        assert load_settings(home, {}, {"server.port": None}).server.port == 1

    def test_flags_as_tables_leave_their_neighbours_alone(self, home: Path) -> None:
        write(home, '[server]\nhost = "::1"')
        server = load_settings(home, {}, {"server": {"port": 9, "host": None}}).server
        assert (server.port, server.host) == (9, "::1")

    def test_origins_name_each_layer(self, home: Path) -> None:
        write(home, '[server]\nport = 1\nhost = "::1"\n\n[store]\nkeep = "1d"')
        environ = {"CLARIHOOK_STORE__KEEP": "2d"}
        origins = load(home, environ, {"server.port": 9}).origins
        assert origins["server", "port"] == "--port"
        assert origins["server", "host"] == "config/clarihook.toml:3"
        assert origins["store", "keep"] == "CLARIHOOK_STORE__KEEP"
        assert ("store", "url") not in origins

    def test_a_whole_source_from_the_environment(self, home: Path) -> None:
        environ = {
            "CLARIHOOK_SOURCES__CLARIBI__SCHEME": "claribi",
            "CLARIHOOK_SOURCES__CLARIBI__SECRETS": '["env:X", "env:Y"]',
            "X": SECRET,
            "Y": SECRET + "2",
        }
        secrets = load_settings(home, environ).sources["claribi"].secrets
        assert [secret.reference for secret in secrets] == ["env:X", "env:Y"]

    def test_a_plain_string_is_a_list_of_one(self, home: Path) -> None:
        write(home, f"[sources.claribi]\nscheme = 'claribi'\nsecrets = ['{SECRET}']")
        environ = {"CLARIHOOK_SOURCES__CLARIBI__SECRETS": "env:X", "X": "another-made-up-secret"}
        (secret,) = load_settings(home, environ).sources["claribi"].secrets
        assert secret.get_secret_value() == "another-made-up-secret"

    def test_a_hyphen_in_a_name_is_an_underscore_in_a_variable(self, home: Path) -> None:
        write(home, f"[sources.my-shop]\nscheme = 'shopify'\nsecrets = ['{SECRET}']")
        environ = {"CLARIHOOK_SOURCES__MY_SHOP__TOLERANCE": "1m"}
        settings = load_settings(home, environ)
        assert list(settings.sources) == ["my-shop"]
        assert settings.sources["my-shop"].tolerance == timedelta(minutes=1)

    def test_routes_come_as_json(self, home: Path) -> None:
        write(home, "[channels.ops]\nurls = ['file://m.jsonl']")
        settings = load_settings(home, {"CLARIHOOK_ROUTES": '[{"notify": ["ops"]}]'})
        assert settings.routes[0].notify == ("ops",)

    def test_variables_of_kubernetes_and_our_own_switches_are_no_settings(self, home: Path) -> None:
        write(home, "")
        names = ("CLARIHOOK_PORT", "CLARIHOOK_SERVICE_HOST", "CLARIHOOK_HOME", "CLARIHOOK_DEBUG")
        load_settings(home, dict.fromkeys(names, "x"))

    def test_a_home_without_settings_says_how_to_make_them(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="clarihook init"):
            load_settings(tmp_path / "nowhere", {})


class TestProblems:
    def test_all_faults_come_at_once_with_file_line_key_and_remedy(self, home: Path) -> None:
        text = """\
[server]
port = "eighty"
hots = "x"

[sources.claribi]
shceme = "claribi"
secrets = [
    "env:MISSING",
    "file:nowhere",
]

[channels.ops]
urls = []

[[routes]]
notify = ["ops"]

[[routes]]
notify = ["opps"]
when = "event.data <"
"""
        where = "config/clarihook.toml"
        found = problems(home, text)
        for start in (
            f"{where}:2: server.port: must be a whole number",
            f'{where}:3: server.hots: unknown key; did you mean "host"?',
            f'{where}:6: sources.claribi.shceme: unknown key; did you mean "scheme"?',
            f"{where}:5: sources.claribi.scheme: is missing; set it",
            f"{where}:8: sources.claribi.secrets[0]: the environment variable MISSING is not set;",
            f"{where}:9: sources.claribi.secrets[1]: the file {home}/nowhere can't be read",
            f"{where}:13: channels.ops.urls: must not be empty",
            f'{where}:19: routes[1].notify[0]: there is no channel "opps"; did you mean "ops"?',
            f"{where}:20: routes[1].when: is no CEL expression: column 13",
        ):
            assert any(line.startswith(start) for line in found), (start, found)
        assert len(found) == 9

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("[server]\nport = \n", "config/clarihook.toml:2: column 8: is no TOML: Invalid value"),
            ("[server]\nport =", "config/clarihook.toml:2: is no TOML: Invalid value"),
            ("a = 1\na = 2", "config/clarihook.toml:2: is no TOML: Cannot overwrite a value"),
            ("x = " + "[" * 5000, "config/clarihook.toml: is nested too deeply"),
            ("#" * 1_048_577, "config/clarihook.toml: is larger than 1048576 bytes"),
        ],
    )
    def test_what_is_no_toml(self, home: Path, text: str, expected: str) -> None:
        (problem,) = problems(home, text)
        assert problem.startswith(expected)

    def test_a_file_in_another_encoding(self, home: Path) -> None:
        (home / "config/clarihook.toml").write_bytes(b"# one\n# \xe9\n")
        with pytest.raises(ConfigError, match=r"toml:2: is not UTF-8"):
            load_settings(home, {})

    def test_a_value_in_a_tables_place_is_the_fault_that_is_told(self, home: Path) -> None:
        write(home, "server = 3")
        with pytest.raises(ConfigError) as caught:
            load_settings(home, {}, {"server.port": 1})
        assert caught.value.problems == ("config/clarihook.toml:1: server: must be a table",)

    def test_a_byte_order_mark_is_no_fault(self, home: Path) -> None:
        (home / "config/clarihook.toml").write_bytes(b"\xef\xbb\xbf[server]\r\nport = 1\r\n")
        assert load_settings(home, {}).server.port == 1

    def test_faults_of_variables_and_flags_name_them(self, home: Path) -> None:
        write(home, "")
        environ = {
            "CLARIHOOK_SERVER__PROT": "1",
            "CLARIHOOK_SERVR__PORT": "1",
            "CLARIHOOK_ROUTES__0__MATCH": "x",
        }
        with pytest.raises(ConfigError) as caught:
            load_settings(home, environ, {"server.port": 70_000})
        found = "\n".join(caught.value.problems)
        assert "--port: server.port: must be less than or equal to 65535" in found
        assert 'CLARIHOOK_SERVER__PROT: server.prot: unknown key; did you mean "port"?' in found
        assert 'CLARIHOOK_SERVR__PORT: servr.port: no such section; did you mean "server"?' in found
        assert "CLARIHOOK_ROUTES__0__MATCH: routes" in found

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            ({"server": {"port": 65_536}}, "server.port: must be less than or equal to 65535"),
            ({"server": {"max_body_bytes": 0}}, "server.max_body_bytes: must be greater than"),
            ({"server": 3}, "server: must be a table"),
            ({"store": {"url": "mysql://x"}}, "store.url: must begin with sqlite:/// or"),
            ({"store": {"url": "sqlite://x.db"}}, "store.url: write sqlite:///PATH"),
            ({"store": {"keep": 0}}, "store.keep: must be longer than 0"),
            ({"dispatch": {"schedule": []}}, "dispatch.schedule: must not be empty"),
            ({"dispatch": {"attempts": 0}}, "dispatch.attempts: must be greater than"),
            ({"dispatch": {"jitter": 1.1}}, "dispatch.jitter: must be less than or equal to 1"),
            ({"dispatch": {"max_age": 0}}, "dispatch.max_age: must be longer than 0"),
            ({"dispatch": {"backoff": "5s"}}, "dispatch.backoff: must be a table"),
            ({"dispatch": {"backoff": {}}}, "dispatch.backoff.first: is missing; set it"),
            (
                {"dispatch": {"backoff": {"first": 1, "fator": 2}}},
                'dispatch.backoff.fator: unknown key; did you mean "factor"?',
            ),
            (
                {"dispatch": {"backoff": {"first": 1, "factor": 0.9}}},
                "dispatch.backoff.factor: must be greater than or equal to 1",
            ),
            (
                {"dispatch": {"backoff": {"first": 9, "cap": 8}}},
                "dispatch.backoff: its cap is below its first wait; raise the cap",
            ),
            (
                {"sources": {"a": {**SOURCE, "schedule": [1], "backoff": {"first": 1}}}},
                "sources.a.backoff: says how long to wait, and so does schedule; keep one of them",
            ),
            (
                {"channels": {"a": {"urls": "file://x", "final": [404, 99]}}},
                "channels.a.final[1]: write an HTTP status such as 404, or an error class",
            ),
            (
                {"channels": {"a": {"urls": "file://x", "retry_on": True}}},
                "channels.a.retry_on[0]: write an HTTP status",
            ),
            (
                {
                    "channels": {
                        "a": {
                            "urls": "file://x",
                            "final": "SSLError",
                            "retry_on": [404, "SSLError"],
                        }
                    }
                },
                "channels.a.final: has SSLError, and so has retry_on; keep one of them",
            ),
            ({"sources": {"a": {**SOURCE, "scheme": "md5"}}}, "sources.a.scheme: must be 'sta"),
            ({"sources": {"a": {**SOURCE, "dedupe": "id"}}}, 'sources.a.dedupe: write "header'),
            ({"sources": {"a": {**SOURCE, "type": "event"}}}, 'sources.a.type: write "header'),
            ({"sources": {"clarihook": SOURCE}}, "sources.clarihook: is the source of clarihook's"),
            ({"sources": {"A b": SOURCE}}, "sources.A b: is no name; use a-z"),
            ({"claribi": {"base_url": "claribi.com"}}, "claribi.base_url: must be an http"),
            ({"claribi": {"email": "a@b.c"}}, "claribi.email: needs claribi.password as well"),
            ({"claribi": {"totp": "X"}}, "claribi.totp: is used only with email"),
            ({"claribi": {"api_key_style": "x"}}, 'claribi.api_key_style: must be "x-api-key"'),
            ({"channels": {"a": {"urls": ["file://"]}}}, "channels.a.urls[0]: file:// needs"),
            (
                {"channels": {"a": {**CHANNEL, "rate": "fast"}}},
                "channels.a.rate: write a rate such",
            ),
            ({"channels": {"a": {**CHANNEL, "concurrency": 0}}}, "channels.a.concurrency: must be"),
            ({"sources": {"a": {**SOURCE, "rate": 5}}}, "sources.a.rate: write a rate such as"),
            ({"routes": [{}]}, "routes[0]: says nothing to anybody; set notify, forward, or both"),
            ({"routes": [{"forward": "https://a.b"}]}, "routes[0].forward: needs forward_secret"),
            (
                {"routes": [{"notify": "x", "allow_private": True}]},
                "routes[0].allow_private: is used only with forward",
            ),
            (
                {"routes": [{"forward": "ftp://a.b", "forward_secret": "whsec_" + "A" * 32}]},
                "routes[0].forward: must be an http:// or https:// address",
            ),
            (
                {"routes": [{"forward": "https://a.b", "forward_secret": "short"}]},
                "routes[0].forward_secret: is shorter than 16 bytes",
            ),
            ({"routes": [{"notify": "x", "name": "3"}]}, "routes[0].name: is no name; use a-z"),
            (
                {"routes": [{"notify": "x", "name": "a"}, {"notify": "x", "name": "a"}]},
                'routes[1].name: is the name of an earlier route: "a"',
            ),
            ({"routes": [{"notify": "x", "continue": 7}]}, "routes[0].continue: must be true or"),
            ({"routes": [{"notify": "x", "continu": 1}]}, 'did you mean "continue"?'),
            ({"routes": [{"notify": "x", "goes_on": True}]}, "routes[0].goes_on: unknown key"),
            ({"routes": [{"notify": []}]}, "routes[0].notify: must not be empty"),
            ({"routes": [{"notify": "x", "when": "evnt.a < 1"}]}, "there is no evnt in a cond"),
            ({"routes": [{"notify": "x", "title": "{{ 1 | nope }}"}]}, "No filter named 'nope'"),
            ({"routes": [{"notify": "x"}]}, 'there is no channel "x"; there is none'),
            ({"routes": [{"notify": "x", "source": "y"}]}, "routes[0].source: there is no source"),
            ({"routes": [{"notify": [], "title": "{{ x"}]}, "routes[0].title: is no Jinja templ"),
            ({"log": {"level": "loud"}}, "log.level: must be 'debug', 'info'"),
            ({"home": "/"}, "home: is no setting; use --home"),
            ({"logg": {}}, 'logg: unknown key; did you mean "log"?'),
        ],
    )
    def test_meaning_is_checked(self, data: dict[str, Any], expected: str) -> None:
        assert any(expected in line for line in problems_of(data)), problems_of(data)

    def test_a_route_may_be_for_clarihooks_own_events(self) -> None:
        channels = {"ops": {"urls": "file://x"}}
        route = {"match": "clarihook.*", "source": "clarihook", "notify": "ops"}
        settings = Settings.from_dict({"channels": channels, "routes": [route]})
        assert settings.routes[0].source == "clarihook"

    def test_both_ways_to_log_in_are_one_too_many(self) -> None:
        claribi = {"api_key": "k", "email": "a@b.c", "password": "p"}
        assert problems_of({"claribi": claribi}) == [
            "claribi.api_key: set either api_key, or email and password; not both"
        ]

    @given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
    def test_any_file_gives_settings_or_problems(self, any_home: Path, content: bytes) -> None:
        (any_home / "config/clarihook.toml").write_bytes(content)
        with contextlib.suppress(ConfigError):
            load_settings(any_home, {})


@pytest.fixture(scope="module")
def any_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all the examples that hypothesis makes."""
    folder = tmp_path_factory.mktemp("any")
    (folder / "config").mkdir()
    return folder


class TestRetryPolicy:
    """`[dispatch]`, `[sources.X]` and `[channels.X]` write one policy in one way."""

    def test_faults_name_file_and_line(self, home: Path) -> None:
        text = """\
[dispatch]
schedule = ["1s"]
backoff = { first = "1s" }
[channels.ops]
urls = ["file://x"]
final = [
    404,
    "no class",
]
[channels.ops.backoff]
first = "1s"
frist = 2
"""
        found = problems(home, text)
        file = "config/clarihook.toml"
        both, cls = "says how long to wait, and so does schedule", 'class such as "SSLError"'
        assert found == [
            f"{file}:3: dispatch.backoff: {both}; keep one of them",
            f'{file}:12: channels.ops.backoff.frist: unknown key; did you mean "first"?',
            f"{file}:8: channels.ops.final[1]: write an HTTP status such as 404, or an error {cls}",
        ]

    def test_each_table_gives_what_it_sets_and_nothing_else(self, home: Path) -> None:
        write(
            home,
            """\
[dispatch]
attempts = 3
backoff = { first = "5s", factor = 3, cap = "1h" }
[sources.shop]
scheme = "claribi"
secrets = ["made-up-secret-for-tests"]
max_age = "1h"
jitter = 0
[channels.ops]
urls = ["file://x"]
final = [404, "SSLError"]
retry_on = 410
max_age = "5m"
""",
        )
        settings = load_settings(home, {})
        assert settings.dispatch.retry == RetryOptions(
            attempts=3,
            waits=Backoff(first_seconds=5, factor=3, cap_seconds=3600),
            jitter=0.5,
        )
        assert settings.sources["shop"].retry == RetryOptions(jitter=0, max_age_seconds=3600)
        assert settings.channels["ops"].retry == RetryOptions(
            attempts=8,
            waits=DEFAULT_SCHEDULE_SECONDS,
            jitter=0.5,
            max_age_seconds=300,
            final=(404, "SSLError"),
            retry_on=(410,),
        )

    def test_the_environment_can_set_all_of_it(self, home: Path) -> None:
        write(home, "[channels.ops]\nurls = ['file://x']\n")
        environ = {
            "CLARIHOOK_DISPATCH__BACKOFF__FIRST": "5s",
            "CLARIHOOK_CHANNELS__OPS__FINAL": '[404, "SSLError"]',
            "CLARIHOOK_CHANNELS__OPS__RETRY_ON": "410",
        }
        settings = load_settings(home, environ)
        assert settings.dispatch.retry.waits == Backoff(first_seconds=5)
        ops = settings.channels["ops"].retry
        assert (ops.final, ops.retry_on) == ((404, "SSLError"), (410,))


class TestFailingClosed:
    """R15: a source that verifies nothing does not start."""

    @pytest.mark.parametrize("source", [{}, {"secrets": []}])
    def test_a_source_without_secrets_is_refused(self, source: dict[str, Any]) -> None:
        data = {"sources": {"a": {"scheme": "claribi", **source}}}
        assert problems_of(data)[0].startswith("sources.a.secrets: no secret is set; write")

    @pytest.mark.parametrize("secret", ["", "short", "fifteen-bytes-x"])
    def test_an_empty_or_short_secret_is_refused(self, secret: str) -> None:
        (problem,) = problems_of({"sources": {"a": {"scheme": "github", "secrets": [secret]}}})
        assert problem.startswith("sources.a.secrets[0]: is ")

    def test_an_empty_variable_is_refused(self, home: Path) -> None:
        text = '[sources.a]\nscheme = "github"\nsecrets = ["env:X"]'
        (problem,) = problems(home, text, {"X": ""})
        assert problem == "config/clarihook.toml:3: sources.a.secrets[0]: env:X is empty"

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
    def test_unsigned_needs_insecure_and_loopback(self, host: str) -> None:
        source = {"scheme": "none", "insecure": True}
        settings = Settings.from_dict({"server": {"host": host}, "sources": {"a": source}})
        assert settings.sources["a"].insecure

    def test_unsigned_without_insecure_is_refused(self) -> None:
        (problem,) = problems_of({"sources": {"a": {"scheme": "none"}}})
        assert "insecure = true" in problem

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
    def test_unsigned_on_a_network_is_refused(self, host: str) -> None:
        source = {"scheme": "none", "insecure": True}
        (problem,) = problems_of({"server": {"host": host}, "sources": {"a": source}})
        assert "only for a loopback address" in problem

    def test_a_flag_that_opens_the_network_is_refused_too(self, home: Path) -> None:
        write(home, '[sources.a]\nscheme = "none"\ninsecure = true')
        load_settings(home, {})
        with pytest.raises(ConfigError, match="loopback"):
            load_settings(home, {}, {"server.host": "0.0.0.0"})


class TestSecrets:
    def test_no_secret_is_in_any_text_of_the_settings(self, home: Path) -> None:
        write(home, DESIGN_EXAMPLE)
        settings = load_settings(home, DESIGN_ENVIRON)
        texts = f"{settings!r} {settings} {settings.model_dump_json()} {settings.model_dump()}"
        values = sensitive_values(settings)
        assert values == {*DESIGN_ENVIRON.values(), "mailto://user:pass@example.com"}
        assert not [value for value in values if value in texts]

    def test_no_problem_quotes_a_secret(self) -> None:
        data = {
            "sources": {"a": {"scheme": "github", "secrets": ["tiny-marker"]}},
            "store": {"url": "mysql://user:marker@host/db"},
            "claribi": {"api_key": ["marker"]},
            "channels": {"a": {"urls": [["marker"]]}},
        }
        assert len(problems_of(data)) == 4
        assert "marker" not in "\n".join(problems_of(data))

    def test_a_file_reference_is_relative_to_the_home_and_loses_its_line_break(
        self, home: Path
    ) -> None:
        (home / "s").write_text(SECRET + "\n")
        data = {"sources": {"a": {"scheme": "github", "secrets": ["file:s"]}}}
        (secret,) = Settings.from_dict(data, home=home).sources["a"].secrets
        assert (secret.get_secret_value(), secret.reference) == (SECRET, "file:s")

    def test_a_file_target_is_not_a_reference(self) -> None:
        settings = Settings.from_dict({"channels": {"a": {"urls": ["file://data/x.jsonl"]}}})
        assert settings.channels["a"].urls[0].get_secret_value() == "file://data/x.jsonl"

    def test_a_secret_in_the_file_is_warned_of_but_not_one_in_a_variable(self, home: Path) -> None:
        write(home, f"[sources.a]\nscheme = 'github'\nsecrets = ['{SECRET}']")
        (warning,) = load(home, {}).warnings
        assert warning.startswith("config/clarihook.toml:3: sources.a.secrets[0]: the secret itsel")
        assert SECRET not in warning
        assert not load(home, {"CLARIHOOK_SOURCES__A__SECRETS": SECRET}).warnings

    def test_a_secret_file_that_others_may_read_is_warned_of(self, home: Path) -> None:
        (home / "s").write_text(SECRET)
        (home / "s").chmod(0o644)
        write(home, "[sources.a]\nscheme = 'github'\nsecrets = ['file:s']")
        (warning,) = load(home, {}).warnings
        assert "mode 644 lets others read" in warning
        (home / "s").chmod(stat.S_IRUSR)
        assert not load(home, {}).warnings


class TestLines:
    def test_every_kind_of_toml_is_located(self) -> None:
        text = '''\
# a comment with "quotes" and [brackets]
title = """
[not.a.table]
""" # more
a.b = 1

[table."quoted key"]
list = [ # comment, with ]
  "x ] , y",
  [1,
   2],
  { k = 1, l = [3] },
]
literal = 'C:\\no [escape]'
empty = ""
date = 1979-05-27 07:32:00

[[array]]
n = 1
[array.inner]
m = 1
[[array]]
n = 2
[[array.deep]]
[[array.deep]]
x = 1
'''
        lines = locate(text)
        table = ("table", "quoted key")
        assert tomllib.loads(text)
        assert lines["title",] == 2
        assert lines["a", "b"] == 5
        assert lines[table] == 7
        assert [lines[(*table, "list", n)] for n in range(3)] == [9, 10, 12]
        assert lines[(*table, "list", 1, 1)] == 11
        assert lines[(*table, "list", 2, "l", 0)] == 12
        assert lines[(*table, "literal")] == 14
        assert lines[(*table, "date")] == 16
        assert lines["array", 0, "inner", "m"] == 21
        assert lines["array", 1, "n"] == 23
        assert lines["array", 1, "deep", 1, "x"] == 26

    @given(
        st.recursive(
            st.integers() | st.booleans() | st.text(string.printable, max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text("abc-1", min_size=1, max_size=3), inner, max_size=3)
            ),
            max_leaves=12,
        )
    )
    def test_every_value_of_any_document_has_a_line(self, value: Any) -> None:
        """Written one key per line, the key number n is found on line n."""
        text = "\n".join(f"k{n} = {toml(value)}" for n in range(3))
        lines = locate(text)
        for path in paths(tomllib.loads(text)):
            assert lines[path] == int(str(path[0])[1:]) + 1


def toml(value: Any) -> str:
    """The value as TOML on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return (
            '"'
            + "".join(f"\\u{ord(c):04x}" if c in '"\\' or ord(c) < 32 else c for c in value)
            + '"'
        )
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + "}"
    return str(value)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside `value`."""
    inside = value.items() if isinstance(value, dict) else []
    inside = enumerate(value) if isinstance(value, list) else inside
    return [found for key, v in inside for found in [(*path, key), *paths(v, (*path, key))]]


def test_a_fallback_is_another_channel_and_comes_to_an_end() -> None:
    def channels(**fallbacks: str) -> dict[str, Any]:
        urls = ["file://a.jsonl"]
        return {"channels": {n: {"urls": urls, "fallback": f} for n, f in fallbacks.items()}}

    end = {"urls": ["file://b.jsonl"]}
    good = channels(a="b", b="c")
    good["channels"]["c"] = end
    assert Settings.from_dict(good).channels["a"].fallback == "b"
    assert problems_of(channels(a="a")) == [
        "channels.a.fallback: goes in a circle: a → a; let one of them have none"
    ]
    assert problems_of(channels(a="b", b="c", c="b")) == [
        "channels.b.fallback: goes in a circle: b → c → b; let one of them have none",
        "channels.c.fallback: goes in a circle: c → b → c; let one of them have none",
    ]
    wrong = channels(backup="backups")
    wrong["channels"]["sms"] = end
    assert problems_of(wrong) == [
        'channels.backup.fallback: there is no channel "backups"; did you mean "backup"?'
    ]


def test_an_escalation_names_channels_and_has_a_message() -> None:
    channels = {"ops": {"urls": ["file://a.jsonl"]}}
    step = {"after": "15m", "notify": "opps"}
    assert problems_of(
        {"channels": channels, "routes": [{"notify": "ops", "escalate": [step]}]}
    ) == ['routes[0].escalate[0].notify[0]: there is no channel "opps"; did you mean "ops"?']
    route = {"forward": "https://example.com", "forward_secret": "env:S", "escalate": [step]}
    assert "routes[0].escalate: needs a message that escalates; set notify" in problems_of(
        {"channels": channels, "routes": [route]}
    )
