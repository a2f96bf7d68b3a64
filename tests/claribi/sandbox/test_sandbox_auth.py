"""Who gets in, with what, and for how long."""

import base64
import hmac
import json
from datetime import timedelta
from typing import Any

import httpx2
import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_server import Running, law

from claribi.sandbox.tokens import BadToken, Claims, decode, encode

CLAIMS = Claims(token_type="access", user_id=1, generation=0, jti="j", iat=1, exp=2)


def claims_of(token: str) -> dict[str, Any]:
    """What a client reads in a token without knowing the key."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=="))
    return claims


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": "claribi_sk_test_administrator"},
        {"Authorization": "Bearer claribi_sk_test_administrator"},
        {"Authorization": "Api-Key claribi_sk_test_administrator"},
        {"Authorization": "api-key  claribi_sk_test_administrator"},
    ],
)
def test_api_key_is_accepted_in_each_style_of_claribis_pages(
    served: Running, headers: dict[str, str]
) -> None:
    answer = served.call("GET", "auth/status/", headers=headers)
    assert answer.status_code == 200
    assert answer.json()["user"]["role"] == "administrator"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "claribi_sk_test_nobody"},
        {"X-API-Key": b"\xff\xfe"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer claribi_sk_test_nobody"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Bearer ..."},
        {"Authorization": b"Bearer \xe9.\xe9.\xe9"},
        {"Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
def test_anything_else_is_a_401(served: Running, headers: dict[str, Any]) -> None:
    answer = served.call("GET", "auth/status/", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"] == "authentication_failed"
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_login_gives_two_tokens_and_the_access_token_opens_the_api(served: Running) -> None:
    tokens = served.login()
    assert list(tokens) == ["access", "refresh"]
    answer = served.call("GET", "auth/status/", headers=bearer(tokens["access"]))
    assert answer.json()["user"]["email"] == "user@example.com"
    claims = claims_of(tokens["access"])
    assert claims["exp"] - claims["iat"] == 3600


@pytest.mark.parametrize(
    "body",
    [
        {"email": "user@example.com", "password": "wrong"},
        {"email": "nobody@example.com", "password": "your-password"},
        {"email": "omar@example.com", "password": ""},
        {"email": "omar@example.com", "password": "None"},
    ],
)
def test_wrong_login_is_refused(served: Running, body: dict[str, str]) -> None:
    assert served.call("POST", "auth/login/", json=body).status_code in {400, 401}


def test_refresh_gives_a_new_access_token_only(served: Running) -> None:
    tokens = served.login()
    answer = served.call("POST", "auth/token/refresh/", json={"refresh": tokens["refresh"]})
    assert list(answer.json()) == ["access"]
    fresh = answer.json()["access"]
    assert fresh != tokens["access"]
    assert served.call("GET", "auth/status/", headers=bearer(fresh)).status_code == 200


def test_tokens_of_another_type_are_refused(served: Running) -> None:
    tokens = served.login()
    as_access = served.call("GET", "auth/status/", headers=bearer(tokens["refresh"]))
    as_refresh = served.call("POST", "auth/token/refresh/", json={"refresh": tokens["access"]})
    assert [as_access.status_code, as_refresh.status_code] == [401, 401]
    assert as_access.json()["error"] == "authentication_failed"


def test_access_token_expires_with_the_sandboxs_time(served: Running) -> None:
    tokens = served.login()
    served.sandbox.advance(timedelta(minutes=59))
    assert served.call("GET", "auth/status/", headers=bearer(tokens["access"])).status_code == 200
    served.sandbox.advance(timedelta(minutes=1))
    answer = served.call("GET", "auth/status/", headers=bearer(tokens["access"]))
    assert answer.status_code == 401
    assert answer.json()["error"] == "token_expired"


def test_refresh_token_lives_for_a_week_and_then_is_not_told_as_token_expired(
    served: Running,
) -> None:
    refresh = {"refresh": served.login()["refresh"]}
    served.sandbox.advance(timedelta(days=7, seconds=-60))
    assert served.call("POST", "auth/token/refresh/", json=refresh).status_code == 200
    served.sandbox.advance(timedelta(seconds=60))
    answer = served.call("POST", "auth/token/refresh/", json=refresh)
    assert answer.status_code == 401
    assert answer.json()["error"] == "authentication_failed"


def test_all_tokens_can_be_expired_at_once(served: Running) -> None:
    tokens = served.login()
    served.sandbox.expire_tokens()
    answer = served.call("GET", "auth/status/", headers=bearer(tokens["access"]))
    assert answer.json()["error"] == "token_expired"
    refresh = {"refresh": tokens["refresh"]}
    assert served.call("POST", "auth/token/refresh/", json=refresh).status_code == 200
    served.sandbox.expire_tokens(refresh=True)
    assert served.call("POST", "auth/token/refresh/", json=refresh).status_code == 401


def test_totp_login_needs_the_code(served: Running) -> None:
    challenge = served.login("mfa@example.com", "mfa-password")
    assert challenge["mfa_required"] is True
    assert "access" not in challenge
    wrong = {"mfa_token": challenge["mfa_token"], "code": "000000x"}
    assert served.call("POST", "auth/mfa/verify/", json=wrong).status_code == 401
    right = wrong | {"code": pyotp.TOTP(served.sandbox.totp_secret).now()}
    tokens = served.call("POST", "auth/mfa/verify/", json=right).json()
    answer = served.call("GET", "auth/status/", headers=bearer(tokens["access"]))
    assert answer.json()["user"]["email"] == "mfa@example.com"


def test_totp_challenge_opens_nothing_itself_and_lives_five_minutes(served: Running) -> None:
    challenge = served.login("mfa@example.com", "mfa-password")["mfa_token"]
    assert served.call("GET", "auth/status/", headers=bearer(challenge)).status_code == 401
    served.sandbox.advance(timedelta(minutes=5))
    code = pyotp.TOTP(served.sandbox.totp_secret).now()
    late = served.call("POST", "auth/mfa/verify/", json={"mfa_token": challenge, "code": code})
    assert late.status_code == 401


WRITES = [
    ("POST", "data-sources/", {"name": "n", "type": "api", "engine": "e"}),
    ("POST", "data-sources/1/sync/", None),
    ("DELETE", "data-sources/1/", None),
    ("POST", "dashboards/", {"name": "n"}),
    ("PUT", "dashboards/2/", {"name": "n"}),
    ("DELETE", "dashboards/2/", None),
    ("POST", "reports/", {"name": "n", "template": "t"}),
    ("DELETE", "reports/1/", None),
    ("POST", "analytics/query/", {"query": "q"}),
]
READS = [
    "auth/status/",
    "data-sources/",
    "data-sources/1/",
    "dashboards/",
    "dashboards/1/",
    "reports/",
    "reports/1/",
    "billing/usage/",
    "billing/pricing-config/",
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_viewers_and_read_only_keys_change_nothing(
    served: Running, method: str, path: str, body: Any
) -> None:
    for key in (served.sandbox.viewer_key, served.sandbox.read_only_key):
        answer = served.call(method, path, json=body, headers={"X-API-Key": key})
        assert answer.status_code == 403
        assert answer.json()["error"] == "permission_denied"
    analyst = {"X-API-Key": served.sandbox.analyst_key}
    assert served.call(method, path, json=body, headers=analyst).is_success


def test_viewers_read_everything_that_is_theirs(served: Running) -> None:
    viewer = {"X-API-Key": served.sandbox.viewer_key}
    for path in READS:
        assert served.call("GET", path, headers=viewer).status_code == 200, path


def test_one_edits_only_ones_own_dashboards_unless_administrator(served: Running) -> None:
    analyst = {"X-API-Key": served.sandbox.analyst_key}
    for method in ("PUT", "DELETE"):
        answer = served.call(method, "dashboards/1/", json={"name": "mine"}, headers=analyst)
        assert answer.status_code == 403
        assert "creator" in answer.json()["detail"]
    assert served.api.put("dashboards/2/", json={"name": "the chief's"}).status_code == 200


def test_dashboards_and_reports_of_others_do_not_exist(served: Running) -> None:
    viewer = {"X-API-Key": served.sandbox.viewer_key}
    dashboards = served.call("GET", "dashboards/", headers=viewer).json()
    seen = {one["id"] for one in dashboards["results"]}
    assert seen == {1, 2, 5, 9, 12}  # those of workspace 3, and a public one
    for number in range(1, 13):
        answer = served.call("GET", f"dashboards/{number}/", headers=viewer)
        assert answer.status_code == (200 if number in seen else 404)
    assert served.call("GET", "reports/4/", headers=viewer).status_code == 404  # a draft


def test_every_path_but_the_login_needs_credentials(served: Running) -> None:
    for path in READS:
        assert served.call("GET", path).status_code == 401, path
    for method, path, body in WRITES:
        assert served.call(method, path, json=body).status_code == 401, path


@law
@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]*"))
def test_reading_a_token_is_total(text: str) -> None:
    with pytest.raises(BadToken):
        decode(text, b"key")


@law
@given(st.integers(0, 300), st.integers(1, 255))
def test_a_changed_token_is_refused(place: int, change: int) -> None:
    token = encode(CLAIMS, b"key").encode()
    place %= len(token)
    changed = token[:place] + bytes([token[place] ^ change]) + token[place + 1 :]
    try:
        read = decode(changed.decode("latin-1"), b"key")
    except BadToken:
        return
    # The last digit of base64 has spare bits: such a change is no change.
    assert read == CLAIMS
    assert changed.rpartition(b".")[0] == token.rpartition(b".")[0]


def test_a_token_of_another_key_is_refused() -> None:
    assert decode(encode(CLAIMS, b"key"), b"key") == CLAIMS
    with pytest.raises(BadToken):
        decode(encode(CLAIMS, b"key"), b"other")


@pytest.mark.parametrize("algorithm", ["none", "HS512"])
def test_a_token_with_another_algorithm_is_refused_even_if_signed(algorithm: str) -> None:
    header = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"%s"}' % algorithm.encode())
    payload = encode(CLAIMS, b"key").split(".")[1].encode()
    signed = header.rstrip(b"=") + b"." + payload
    signature = base64.urlsafe_b64encode(hmac.digest(b"key", signed, "sha256")).rstrip(b"=")
    with pytest.raises(BadToken):
        decode((signed + b"." + signature).decode(), b"key")


def test_clients_can_log_in_with_httpx_alone(served: Running) -> None:
    """What the reference says of `httpx`: nothing but an HTTP client is needed."""
    with httpx2.Client(base_url=f"{served.origin}/api/", trust_env=False) as client:
        body = {"email": "USER@example.com", "password": "your-password"}
        client.headers["Authorization"] = (
            f"Bearer {client.post('auth/login/', json=body).json()['access']}"
        )
        assert client.get("data-sources/").json()["count"] == 8
