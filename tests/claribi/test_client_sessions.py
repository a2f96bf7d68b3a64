"""JWT sessions: one renewal for all, before expiry and on refusal; MFA; no login loops."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pyotp
import pytest
from client_faces import AsyncFace, Face
from client_faults import Fault, answered, transport_for
from client_server import FakeTime, Stage

from claribi import (
    Anonymous,
    AsyncClariBI,
    AuthenticationError,
    ClariBI,
    ConfigurationError,
    ConnectError,
    Credentials,
    MfaRequiredError,
    RequestTimeoutError,
    ServiceUnavailableError,
    SessionExpiredError,
    StaticBearer,
    TokenExpiredError,
    jwt_tokens,
)
from claribi.blocking import run
from claribi.models import MfaChallenge, TokenPair
from claribi.session import JwtSession
from claribi.transport import BlockingIO

MFA = {"email": "mfa@example.com", "password": "mfa-password"}


def posts(stage: Stage) -> list[str]:
    return [one.path for one in stage.seen if one.method == "POST"]


@pytest.mark.parametrize("is_refresh_dead", [False, True], ids=["expired", "refresh-dead"])
def test_100_concurrent_tasks_renew_once(is_refresh_dead: bool, stage: Stage) -> None:
    async def main() -> list[Any]:
        async with AsyncClariBI(**stage.login) as client:
            await client.auth.status()
            stage.sandbox.expire_tokens(refresh=is_refresh_dead)
            stage.seen.clear()
            return await asyncio.gather(*(client.data_sources.get(1) for _ in range(100)))

    assert [source.id for source in asyncio.run(main())] == [1] * 100
    assert posts(stage) == renewals(is_refresh_dead)


@pytest.mark.parametrize("is_refresh_dead", [False, True], ids=["expired", "refresh-dead"])
def test_100_concurrent_threads_renew_once(is_refresh_dead: bool, stage: Stage) -> None:
    results: list[int] = []
    gate = threading.Barrier(100)
    with ClariBI(**stage.login, max_connections=20) as client:
        client.auth.status()
        stage.sandbox.expire_tokens(refresh=is_refresh_dead)
        stage.seen.clear()

        def work() -> None:
            gate.wait()
            results.append(client.data_sources.get(1).id)

        threads = [threading.Thread(target=work) for _ in range(100)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert results == [1] * 100
    assert posts(stage) == renewals(is_refresh_dead)


def test_thread_that_looked_too_early_renews_nothing() -> None:
    """It saw the old token, then slept until another thread's renewal was over."""
    asked: list[str] = []

    class Api:
        async def refresh(self, refresh: str) -> TokenPair:
            asked.append(refresh)
            return TokenPair(access=f"access-{len(asked)}")

    class SlowToBegin(BlockingIO):
        others = 1

        async def once(self, work: Any) -> None:
            if self.others:
                self.others -= 1
                await session.renew(session.header())
            await super().once(work)

    io = SlowToBegin(max_connections=1, uses_tls=False)
    api: Any = Api()
    session = JwtSession(jwt_tokens("access-0", "refresh"), api=api, io=io, clock=FakeTime())
    run(session.renew(session.header()))
    run(io.close())
    assert asked == ["refresh"]
    assert session.header() == ("authorization", "Bearer access-1")


def test_100_concurrent_first_calls_log_in_once(stage: Stage) -> None:
    async def main() -> None:
        async with AsyncClariBI(**stage.login) as client:
            await asyncio.gather(*(client.auth.status() for _ in range(100)))

    asyncio.run(main())
    assert posts(stage) == ["auth/login/"]


def renewals(is_refresh_dead: bool) -> list[str]:
    return ["auth/token/refresh/", "auth/login/"] if is_refresh_dead else ["auth/token/refresh/"]


def test_token_is_renewed_before_it_expires(face: Face, stage: Stage) -> None:
    """The sandbox's tokens live for an hour: they are renewed 6 minutes before that."""
    client = face.client(**stage.login)
    face.run(client.auth.status)
    face.time.advance(3600 - 361)
    face.run(client.auth.status)
    assert posts(stage) == ["auth/login/"]
    face.time.advance(2)
    face.run(client.auth.status)
    assert posts(stage) == ["auth/login/", "auth/token/refresh/"]
    assert all(call.status == 200 for call in stage.sandbox.calls)


@pytest.mark.parametrize("skew", [-7200, 7200])
def test_wrong_clock_here_renews_nothing(skew: float, face: Face, stage: Stage) -> None:
    """A fresh token's age counts, not what our wall clock thinks of its `exp`."""
    time = FakeTime()
    wrong = FakeTime(unix=time.time() + skew)
    client = face.client(**stage.login, clock=wrong)
    for _ in range(3):
        face.run(client.auth.status)
    assert posts(stage) == ["auth/login/"]


def test_failed_early_renewal_does_no_harm(face: Face, stage: Stage) -> None:
    client = face.client(**stage.login, retries=0)
    face.run(client.auth.status)
    face.time.advance(3600 - 300)
    stage.sandbox.fail_next(1, status=503, path="auth/token/refresh/")
    face.run(client.auth.status)
    face.run(client.auth.status)
    assert posts(stage) == ["auth/login/", "auth/token/refresh/"]
    face.time.advance(6)
    face.run(client.auth.status)
    assert posts(stage) == ["auth/login/", "auth/token/refresh/", "auth/token/refresh/"]


def test_failed_renewal_of_a_dead_token_is_told_and_held(face: Face, stage: Stage) -> None:
    client = face.client(**stage.login, retries=0)
    face.run(client.auth.status)
    stage.sandbox.expire_tokens()
    stage.sandbox.fail_next(1, status=503, path="auth/token/refresh/")
    for _ in range(3):
        with pytest.raises(ServiceUnavailableError):
            face.run(client.auth.status)
    assert posts(stage) == ["auth/login/", "auth/token/refresh/"]
    face.time.advance(6)
    assert face.run(client.auth.status).user.id == 1


def test_refused_login_is_not_repeated_for_a_minute(face: Face, stage: Stage) -> None:
    client = face.client(**(stage.login | {"password": "wrong-password"}))
    for _ in range(3):
        with pytest.raises(AuthenticationError):
            face.run(client.auth.status)
    assert posts(stage) == ["auth/login/"]
    face.time.advance(61)
    with pytest.raises(AuthenticationError):
        face.run(client.auth.status)
    assert posts(stage) == ["auth/login/"] * 2


def test_session_without_password_ends_with_its_refresh_token(face: Face, stage: Stage) -> None:
    pair = tokens(face, stage)
    client = face.client(base_url=stage.base_url, auth=jwt_tokens(pair.access, pair.refresh))
    assert face.run(client.auth.status).user.id == 1
    stage.sandbox.expire_tokens()
    assert face.run(client.auth.status).user.id == 1
    stage.sandbox.expire_tokens(refresh=True)
    with pytest.raises(SessionExpiredError, match="log in"):
        face.run(client.auth.status)


def test_refresh_token_alone_is_enough(face: Face, stage: Stage) -> None:
    pair = tokens(face, stage)
    client = face.client(base_url=stage.base_url, auth=jwt_tokens(None, pair.refresh))
    assert face.run(client.auth.status).user.id == 1


def test_expired_fixed_token_is_an_error(face: Face, stage: Stage) -> None:
    pair = tokens(face, stage)
    client = face.client(base_url=stage.base_url, auth=StaticBearer(pair.access))
    stage.sandbox.expire_tokens()
    with pytest.raises(TokenExpiredError):
        face.run(client.auth.status)


def test_paid_call_is_repeated_after_an_expired_token(face: Face, stage: Stage) -> None:
    """A 401 proves that nothing was done."""
    client = face.client(**stage.login)
    face.run(client.auth.status)
    stage.sandbox.expire_tokens()
    assert face.run(lambda: client.analytics.query("What sold best?")).credits_used == 1
    assert client.credits.spent == 1


def test_token_that_is_always_refused_is_renewed_once(face: Face, stage: Stage) -> None:
    """A server that calls every token expired must not send the client round in circles."""
    expired = Fault("expired", status=401, body=b'{"error": "token_expired", "message": "No"}')
    transport = transport_for(face, [None, expired, None, expired])
    client = face.client(**stage.login, transport=transport)
    with pytest.raises(TokenExpiredError):
        face.run(lambda: client.reports.get(1))
    assert transport.sent == 4
    assert posts(stage) == ["auth/login/", "auth/token/refresh/"]


def test_new_refresh_token_replaces_the_old_one() -> None:
    """G5: whether clariBI rotates them is not said."""
    asked: list[str] = []

    class Api:
        async def refresh(self, refresh: str) -> TokenPair:
            asked.append(refresh)
            return TokenPair(access=f"access-{len(asked)}", refresh=ROTATED[len(asked)])

    api: Any = Api()
    io = BlockingIO(max_connections=1, uses_tls=False)
    session = JwtSession(jwt_tokens(None, "first"), api=api, io=io, clock=FakeTime())
    for _ in range(3):
        run(session.renew(session.header()))
    run(io.close())
    assert asked == ["first", "second", "second"]


ROTATED = {1: "second", 2: None, 3: None}
"""What the n-th refresh brings beside the access token."""


@pytest.mark.parametrize("status", [400, 401])
def test_dead_refresh_token_may_be_told_by_400_or_401(
    status: int, face: Face, stage: Stage
) -> None:
    pair = tokens(face, stage)
    stage.seen.clear()
    auth = Credentials(email="user@example.com", password="your-password", refresh=pair.refresh)
    transport = transport_for(face, [answered(status)])
    client = face.client(base_url=stage.base_url, auth=auth, transport=transport)
    assert face.run(client.auth.status).user.id == 1
    assert posts(stage) == ["auth/login/"]


def test_totp_secret_that_is_too_short_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigurationError, match=r"112 bits.*callable") as caught:
        Credentials(email="a@b.c", password="p", totp="JBSWY3DPEHPK3PXP")
    assert "JBSWY3" not in str(caught.value)


def test_repr_of_credentials_shows_the_address_only() -> None:
    secret = {"password": "made-up-pw", "totp": "JBSWY3DPEHPK3PXPJBSWY3DP", "access": "a.b.c"}
    shown = repr(Credentials(email="a@b.c", refresh="made-up-refresh", **secret))
    assert shown == "Credentials(email='a@b.c')"


def test_api_key_is_never_renewed(face: Face, stage: Stage) -> None:
    client = face.client(base_url=stage.base_url, api_key="claribi_sk_test_unknown")
    with pytest.raises(AuthenticationError):
        face.run(client.auth.status)
    assert len(stage.seen) == 1


def secret(stage: Stage) -> str:
    return stage.sandbox.totp_secret


def callable_code(stage: Stage) -> Callable[[], str]:
    return lambda: pyotp.TOTP(stage.sandbox.totp_secret).now()


@pytest.mark.parametrize("totp", [secret, callable_code])
def test_totp_completes_the_login(totp: Callable[[Stage], Any], face: Face, stage: Stage) -> None:
    client = face.client(base_url=stage.base_url, **MFA, totp=totp(stage))
    assert face.run(client.auth.status).user.email == "mfa@example.com"
    assert posts(stage) == ["auth/login/", "auth/mfa/verify/"]


def test_totp_callable_may_be_async(stage: Stage) -> None:
    async def code() -> str:
        return pyotp.TOTP(stage.sandbox.totp_secret).now()

    async def main() -> None:
        async with AsyncClariBI(base_url=stage.base_url, **MFA, totp=code) as client:
            assert (await client.auth.status()).user.id == 4

    asyncio.run(main())


def test_login_that_takes_all_the_time_sends_nothing_more(face: Face, stage: Stage) -> None:
    """So a POST that costs credits was surely not sent: no OutcomeUnknownError."""

    def slowly() -> str:
        face.time.advance(121)
        return pyotp.TOTP(stage.sandbox.totp_secret).now()

    client = face.client(base_url=stage.base_url, **MFA, totp=slowly)
    with pytest.raises(RequestTimeoutError, match="not sent"):
        face.run(lambda: client.reports.create(name="Late", template="sales_summary"))
    assert posts(stage) == ["auth/login/", "auth/mfa/verify/"]
    assert face.run(client.auth.status).user.id


def test_mfa_without_totp_says_what_to_do(face: Face, stage: Stage) -> None:
    client = face.client(base_url=stage.base_url, **MFA)
    with pytest.raises(MfaRequiredError, match="totp=") as caught:
        face.run(client.auth.status)
    assert isinstance(caught.value.challenge, MfaChallenge)


def test_login_by_hand(face: Face, stage: Stage) -> None:
    client = face.client(base_url=stage.base_url, auth=Anonymous())
    challenge = face.run(lambda: client.auth.login(**MFA))
    assert isinstance(challenge, MfaChallenge)
    code = pyotp.TOTP(stage.sandbox.totp_secret).now()
    pair = face.run(lambda: client.auth.complete_mfa(challenge, code))
    renewed = face.run(lambda: client.auth.refresh(pair.refresh))
    assert renewed.access
    with pytest.raises(AuthenticationError):
        face.run(client.auth.status)


def test_cancelled_caller_does_not_cancel_the_renewal_of_others(stage: Stage) -> None:
    async def main() -> int:
        is_sent, hook = sent_event()
        async with AsyncClariBI(**stage.login, hooks=[hook]) as client:
            first = asyncio.create_task(client.auth.status())
            second = asyncio.create_task(client.auth.status())
            await is_sent.wait()
            first.cancel()
            await asyncio.wait([first])
            assert first.cancelled()
            return (await second).user.id

    assert asyncio.run(main()) == 1
    assert posts(stage) == ["auth/login/"]


def test_client_closed_during_a_login_tells_its_callers(stage: Stage) -> None:
    async def main() -> None:
        is_sent, hook = sent_event()
        client = AsyncClariBI(**stage.login, hooks=[hook])
        call = asyncio.create_task(client.auth.status())
        await is_sent.wait()
        await client.aclose()
        with pytest.raises(ConnectError, match="closed"):
            await call
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def sent_event() -> tuple[asyncio.Event, Callable[[Any], None]]:
    """An event that is set when the first request is about to be sent, and its hook."""
    event = asyncio.Event()
    return event, lambda _: event.set()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"api_key": "k", "email": "a@b.c", "password": "p"},
        {"email": "a@b.c"},
        {"api_key": "  "},
        {"api_key": "bad\nkey"},
        {"api_key": "k", "api_key_style": "cookie"},
        {"api_key": "k", "api_key_style": "header:no good"},
        {"email": "a@b.c", "password": "p", "totp": "not base32!"},
        {"auth": "token"},
    ],
    ids=str,
)
def test_unusable_credentials_are_refused_at_once(settings: Any) -> None:
    with pytest.raises(ConfigurationError):
        ClariBI(base_url="https://claribi.example/api/", **settings)


@pytest.mark.parametrize(
    ("style", "name", "value"),
    [
        ("x-api-key", "x-api-key", "claribi_sk_test_administrator"),
        ("api-key", "authorization", "Api-Key claribi_sk_test_administrator"),
        ("bearer", "authorization", "Bearer claribi_sk_test_administrator"),
        ("header:X-My-Key", "x-my-key", "claribi_sk_test_administrator"),
    ],
)
def test_api_key_styles(style: str, name: str, value: str, face: Face, stage: Stage) -> None:
    client = face.client(**stage.key, api_key_style=style)
    if style.startswith("header:"):
        with pytest.raises(AuthenticationError):  # the sandbox doesn't know this header
            face.run(client.auth.status)
    else:
        assert face.run(client.auth.status).user.id == 1
    assert stage.seen[-1].headers[name] == value


def tokens(face: Face, stage: Stage) -> TokenPair:
    client = face.client(base_url=stage.base_url, auth=Anonymous())
    pair = face.run(lambda: client.auth.login("user@example.com", "your-password"))
    assert isinstance(pair, TokenPair)
    stage.seen.clear()
    return pair


def test_tokens_of_unknown_age_are_renewed_by_the_wall_clock(stage: Stage) -> None:
    face = AsyncFace()
    try:
        pair = tokens(face, stage)
        face.time.advance(timedelta(hours=1).total_seconds())
        client = face.client(base_url=stage.base_url, auth=jwt_tokens(pair.access, pair.refresh))
        face.run(client.auth.status)
        assert posts(stage) == ["auth/token/refresh/"]
    finally:
        face.close()
