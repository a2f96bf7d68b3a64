"""The clients as a whole: options, hooks, credits, raw requests, secrets, threads."""

import asyncio
import logging
import threading
import traceback
from pathlib import Path
from typing import Any

import pytest
from client_faces import Face
from client_faults import LOST_AFTER, REFUSED, answered, transport_for
from client_server import Stage

import claribi
from claribi import (
    AsyncClariBI,
    ClariBI,
    ClariBIError,
    ConfigurationError,
    DatabaseConfiguration,
    NotFoundError,
    ReportParameters,
    RequestTimeoutError,
    Timeout,
    ValidationError,
)
from claribi.hooks import Happening, RequestSent, ResponseReceived, RetryScheduled, SessionRenewed
from claribi.options import Options, with_changes
from claribi.resources import analytics, auth, billing, dashboards, data_sources, raw, reports


def test_exports_are_what_all_says() -> None:
    assert claribi.__all__ == sorted(claribi.__all__)
    for name in claribi.__all__:
        assert getattr(claribi, name) is not None
    errors = [c for c in vars(claribi.errors).values() if isinstance(c, type)]
    public = {c.__name__ for c in errors if issubclass(c, ClariBIError)}
    assert public <= set(claribi.__all__)


@pytest.mark.parametrize(
    "module", [analytics, auth, billing, dashboards, data_sources, raw, reports]
)
def test_both_faces_have_the_same_methods(module: Any) -> None:
    """Only the faces could drift apart: all they hold is the name of each method."""
    faces = [
        c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__
    ]
    blocking = next(c for c in faces if c.__name__.startswith("Blocking"))
    target = next(c for c in faces if c.__name__ in {"AuthResource", blocking.__name__[8:]})
    methods = {name for name in vars(target) if not name.startswith("_")}
    assert {name for name in vars(blocking) if not name.startswith("_")} == methods
    for name in methods:
        assert vars(blocking)[name].__doc__ == vars(target)[name].__doc__


# Options


def test_options_of_a_view_leave_the_client_alone(face: Face, stage: Stage) -> None:
    transport = transport_for(face, [REFUSED, None, REFUSED])
    client = face.client(**stage.key, transport=transport)
    view = client.with_options(retries=0)
    with pytest.raises(ClariBIError):
        face.run(lambda: view.data_sources.get(1))
    assert face.run(lambda: view.data_sources.get(1)).id == 1
    assert face.run(lambda: client.data_sources.get(1)).id == 1


def test_view_shares_the_session_and_the_credits(face: Face, stage: Stage) -> None:
    client = face.client(**stage.login)
    view = client.with_options(timeout=5)
    face.run(client.auth.status)
    face.run(view.auth.status)
    assert [one.path for one in stage.seen].count("auth/login/") == 1
    assert view.credits is client.credits


def test_closing_a_view_closes_nothing(stage: Stage) -> None:
    with ClariBI(**stage.key) as client:
        with client.with_options(retries=0) as view:
            view.data_sources.get(1)
        client.data_sources.get(1)


def test_closed_client_says_so(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key)
    face.run(client.close if face.name == "sync" else client.aclose)
    with pytest.raises(ConfigurationError, match="closed"):
        face.run(lambda: client.data_sources.get(1))


def test_timeout_of_a_query_is_longer(face: Face, stage: Stage) -> None:
    """A slow answer is a read time-out for a report, but not for a query."""
    limits = Timeout(read_seconds=0.05, query_seconds=30)
    client = face.client(**stage.key, timeout=limits, retries=0)
    stage.sandbox.fail_next(1, slow=True, delay_seconds=0.3, path="analytics/*")
    assert face.run(lambda: client.analytics.query("What sold best?")).credits_used == 1
    stage.sandbox.fail_next(1, slow=True, delay_seconds=0.3, path="reports/*")
    with pytest.raises(RequestTimeoutError):
        face.run(lambda: client.reports.get(1))


def test_timeout_as_a_number_leaves_queries_their_time() -> None:
    options = with_changes(Options(), timeout=3, retries=None)
    assert options.timeout == Timeout(connect_seconds=3, read_seconds=3)
    assert with_changes(options, timeout=300, retries=None).timeout.query_seconds == 300


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"retries": -1},
        {"max_body_bytes": 0},
        {"base_url": "http://claribi.com/api/"},
    ],
    ids=str,
)
def test_senseless_options_are_refused(settings: Any) -> None:
    with pytest.raises(ConfigurationError):
        ClariBI(**({"api_key": "k"} | settings))


# Hooks


def test_hooks_are_told_of_everything(face: Face, stage: Stage) -> None:
    told: list[Happening] = []
    transport = transport_for(face, [None, None, answered(503)])
    client = face.client(**stage.login, transport=transport, hooks=[told.append])
    face.run(client.auth.status)
    stage.sandbox.expire_tokens()
    face.run(client.auth.status)
    assert [(type(one), str(one.request), one.attempt) for one in told] == [
        (RequestSent, "POST auth/login/", 1),
        (ResponseReceived, "POST auth/login/", 1),
        (RequestSent, "GET auth/status/", 1),
        (ResponseReceived, "GET auth/status/", 1),
        (RequestSent, "GET auth/status/", 1),
        (ResponseReceived, "GET auth/status/", 1),
        (RetryScheduled, "GET auth/status/", 1),
        (RequestSent, "GET auth/status/", 2),
        (ResponseReceived, "GET auth/status/", 2),
        (RequestSent, "POST auth/token/refresh/", 1),
        (ResponseReceived, "POST auth/token/refresh/", 1),
        (SessionRenewed, "GET auth/status/", 2),
        (RequestSent, "GET auth/status/", 3),
        (ResponseReceived, "GET auth/status/", 3),
    ]


def test_hook_that_fails_does_not_fail_the_call(
    face: Face, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    def bad(_: Happening) -> None:
        raise RuntimeError("a bug in the hook")

    client = face.client(**stage.key, hooks=[bad])
    assert face.run(lambda: client.data_sources.get(1)).id == 1
    assert "a hook of the clariBI client failed" in caplog.text


# Credits


def test_credits_are_learnt_from_every_answer_that_tells_them(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key)
    assert (client.credits.remaining, client.credits.at) == (None, None)
    face.run(client.auth.status)
    assert (client.credits.remaining, client.credits.is_exact) == (1347, True)
    task = face.run(lambda: client.reports.create(name="x", template="sales_summary"))
    assert client.credits.remaining == 1347 - task.credits_used
    assert not client.credits.is_exact
    result = face.run(lambda: client.analytics.query("What sold best?"))
    assert client.credits.remaining == result.credits_remaining
    assert client.credits.spent == task.credits_used + 1
    stage.sandbox.set_credits(500)
    face.run(client.billing.usage)
    assert client.credits.remaining == 500
    assert client.credits.at.utcoffset().total_seconds() == 0


# Calls that rows of the reference don't show


def test_typed_bodies_and_extra_fields(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key)
    configuration = DatabaseConfiguration(
        host="db.example.com", port=5432, database="d", username="u", password="made-up-password"
    )
    face.run(
        lambda: client.data_sources.create(
            name="Typed",
            type="database",
            engine="postgresql",
            configuration=configuration,
            extra={"region": "eu"},
        )
    )
    sent = stage.seen[-1].json
    assert sent["region"] == "eu"
    assert sent["configuration"]["port"] == 5432
    parameters = ReportParameters(date_range="last_30_days")
    face.run(
        lambda: client.reports.create(
            name="Typed", template="revenue_analysis", parameters=parameters
        )
    )
    assert stage.seen[-1].json["parameters"] == {"date_range": "last_30_days"}


def test_field_errors_of_the_sandbox(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key)
    with pytest.raises(ValidationError) as caught:
        face.run(lambda: client.dashboards.create(name=""))
    assert "name" in caught.value.field_errors


def test_raw_requests(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key)
    reply = face.run(lambda: client.raw.request("get", "/api/reports/", params={"page_size": 2}))
    assert reply.status == 200
    assert len(reply.json()["results"]) == 2
    with pytest.raises(NotFoundError):
        face.run(lambda: client.raw.request("GET", "no/such/path/"))
    for method, path in (("CONNECT", "reports/"), ("GET", "//evil.example/")):
        with pytest.raises(ConfigurationError):
            face.run(lambda method=method, path=path: client.raw.request(method, path))


def test_body_that_is_no_json_is_refused(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key)
    with pytest.raises(ConfigurationError, match="can't be sent"):
        face.run(lambda: client.raw.request("POST", "reports/", json={"x": object()}))
    with pytest.raises(ConfigurationError, match="can't be sent"):
        face.run(lambda: client.dashboards.create(name="x", extra={"y": object()}))
    assert stage.seen == []


def test_deleted_says_how(face: Face, stage: Stage) -> None:
    assert repr(face.run(lambda: face.client(**stage.key).reports.delete(1))) == (
        "Deleted(already_gone=False)"
    )


def test_update_without_an_answer_is_none(face: Face, stage: Stage) -> None:
    transport = transport_for(face, [answered(204)])
    client = face.client(**stage.key, transport=transport)
    assert face.run(lambda: client.dashboards.update(1, name="x")) is None


# Secrets


def test_secrets_are_in_no_repr_log_or_traceback(
    face: Face, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even in a traceback with locals, as rich and Sentry show them."""
    caplog.set_level(logging.DEBUG)
    client = face.client(**stage.login, transport=transport_for(face, [None, None, LOST_AFTER]))
    face.run(client.auth.status)
    with pytest.raises(ClariBIError) as caught:
        face.run(
            lambda: client.data_sources.create(
                name="n", type="database", engine="e", configuration={"password": DB_PASSWORD}
            )
        )
    shown = [repr(client), repr(client.auth), repr(client._engine.shared.auth), caplog.text]
    shown += [str(caught.value), repr(caught.value), repr(vars(caught.value))]
    shown += locals_of_our_frames(caught.value)
    text = "\n".join(shown)
    assert "data-sources/" in text
    sent = {one.headers.get("authorization", "") for one in stage.seen} - {""}
    assert sent
    for secret in ("your-password", DB_PASSWORD, *(one.removeprefix("Bearer ") for one in sent)):
        assert secret not in text


DB_PASSWORD = "made-up-db-password"


def locals_of_our_frames(error: BaseException) -> list[str]:
    """As a traceback would print them; but for the arguments that the caller gave himself."""
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    package = str(Path(claribi.__file__).parent)
    ours = [one for one in frames if one.filename.startswith(package)]
    assert ours
    return [
        f"{one.name}.{name} = {value}"
        for one in ours
        for name, value in (one.locals or {}).items()
        if (one.name, name) != ("create", "configuration") and name not in {"args", "kwargs"}
    ]


def test_exceptions_lead_to_no_request_of_httpx2(face: Face, stage: Stage) -> None:
    client = face.client(**stage.key, transport=transport_for(face, [REFUSED] * 9))
    with pytest.raises(ClariBIError) as caught:
        face.run(lambda: client.data_sources.get(1))
    chain: list[BaseException] = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(error)
        error = error.__cause__ or error.__context__
    assert all(type(one).__module__.startswith("claribi") for one in chain)


# Concurrency


def test_client_serves_many_threads(stage: Stage) -> None:
    results: list[int] = []
    with ClariBI(**stage.key, max_connections=4) as client:
        threads = [
            threading.Thread(target=lambda: results.append(client.data_sources.get(1).id))
            for _ in range(50)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert results == [1] * 50


def test_100_calls_share_a_pool_of_two(stage: Stage) -> None:
    async def main() -> list[Any]:
        async with AsyncClariBI(**stage.key, max_connections=2) as client:
            return await asyncio.gather(*(client.data_sources.get(1) for _ in range(100)))

    assert len(asyncio.run(main())) == 100
