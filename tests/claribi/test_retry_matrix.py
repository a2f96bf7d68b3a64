"""Every cell of the retry matrix, by real calls of both clients."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from client_faces import Face
from client_faults import LOST, NOT_SENT, Fault, answered, transport_for
from client_server import Stage

from claribi import Anonymous, ClariBIError, NotFoundError, OutcomeUnknownError
from claribi.retry import MATRIX, Failure, Kind, Verdict

# One fault, or several alike, for each row of the matrix.
FAULTS: dict[Failure, tuple[Fault, ...]] = {
    Failure.NOT_SENT: NOT_SENT,
    Failure.LOST: LOST,
    Failure.GATEWAY: (answered(408), answered(502), answered(504)),
    Failure.RATE_LIMITED: (answered(429), answered(429, retry_after="3")),
    Failure.UNAVAILABLE: (answered(503),),
    Failure.UNAVAILABLE_UNTIL: (answered(503, retry_after="3"),),
    Failure.INTERNAL: (answered(500),),
    Failure.REFUSED: tuple(answered(status) for status in (400, 403, 404, 409, 418, 422)),
}

# Every operation that is not a GET, and one that is.
CALLS: dict[Kind, dict[str, Callable[[Any, str], Any]]] = {
    Kind.SAFE: {
        "get": lambda c, _: c.data_sources.get(1),
        "update": lambda c, _: c.dashboards.update(1, name="Revenue"),
        "delete": lambda c, _: c.reports.delete(1),
    },
    Kind.REFRESH: {"refresh": lambda c, token: c.auth.refresh(token)},
    Kind.LOGIN: {"login": lambda c, _: c.auth.login("user@example.com", "your-password")},
    Kind.CREATE: {
        "create source": lambda c, _: c.data_sources.create(
            name="New", type="database", engine="postgresql"
        ),
        "create dashboard": lambda c, _: c.dashboards.create(name="New"),
        "sync": lambda c, _: c.data_sources.sync(1),
    },
    Kind.PAID: {
        "report": lambda c, _: c.reports.create(name="New", template="sales_summary"),
        "query": lambda c, _: c.analytics.query("What sold best?"),
        "raw post": lambda c, _: c.raw.request(
            "POST", "analytics/query/", json={"query": "What sold best?"}
        ),
    },
}

Cell = tuple[Failure, Kind, str, Fault]

CELLS = [
    pytest.param((failure, kind, call, fault), id=f"{kind.value}-{call}-{fault}")
    for failure, kind in product(Failure, Kind)
    for call in CALLS[kind]
    for fault in FAULTS[failure]
]


def test_every_cell_has_a_case() -> None:
    assert set(FAULTS) == set(MATRIX) == set(Failure)
    assert set(CALLS) == set(Kind)
    assert all(set(row) == set(Kind) for row in MATRIX.values())


@pytest.mark.parametrize("cell", CELLS)
def test_one_failure(cell: Cell, face: Face, stage: Stage) -> None:
    """After one failure: sent again and successful, or raised; never anything between."""
    failure, kind, call, fault = cell
    transport = transport_for(face, [fault])
    client = face.client(**stage.key, transport=transport)
    token = refresh_token(face, stage)
    verdict = MATRIX[failure][kind]
    if verdict in {Verdict.RETRY, Verdict.RETRY_ONCE}:
        face.run(lambda: CALLS[kind][call](client, token))
        assert transport.sent == 2
        return
    with pytest.raises(ClariBIError) as caught:
        face.run(lambda: CALLS[kind][call](client, token))
    is_unknown = isinstance(caught.value, OutcomeUnknownError)
    assert is_unknown == (verdict is Verdict.OUTCOME_UNKNOWN)
    assert transport.sent == 1


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("retries", [0, 1, 2, 5])
def test_retries_are_an_upper_bound(kind: Kind, retries: int, face: Face, stage: Stage) -> None:
    transport = transport_for(face, [NOT_SENT[0]] * 10)
    client = face.client(**stage.key, transport=transport, retries=retries)
    call = next(iter(CALLS[kind].values()))
    with pytest.raises(ClariBIError):
        face.run(lambda: call(client, "token"))
    assert transport.sent == 1 + retries


def test_login_is_sent_twice_at_most_when_its_answer_is_lost(face: Face, stage: Stage) -> None:
    transport = transport_for(face, [LOST[0]] * 10)
    client = face.client(**stage.key, transport=transport, retries=5)
    with pytest.raises(ClariBIError):
        face.run(lambda: client.auth.login("user@example.com", "your-password"))
    assert transport.sent == 2


@pytest.mark.parametrize(
    "fault", [LOST[1], *(answered(status, is_done=True) for status in (500, 502, 504))], ids=str
)
def test_delete_that_finds_nothing_the_second_time_has_succeeded(
    fault: Fault, face: Face, stage: Stage
) -> None:
    client = face.client(**stage.key, transport=transport_for(face, [fault]))
    assert face.run(lambda: client.reports.delete(1)).already_gone


def test_delete_of_what_is_not_there_fails(face: Face, stage: Stage) -> None:
    """Also when the first attempt surely did nothing."""
    transport = transport_for(face, [None, None, answered(429)])
    client = face.client(**stage.key, transport=transport)
    other = face.run(client.reports.list)[-1].id
    assert not face.run(lambda: client.reports.delete(other)).already_gone
    with pytest.raises(NotFoundError):
        face.run(lambda: client.reports.delete(other))


def refresh_token(face: Face, stage: Stage) -> str:
    client = face.client(base_url=stage.base_url, auth=Anonymous())
    token: str = face.run(lambda: client.auth.login("user@example.com", "your-password")).refresh
    return token
