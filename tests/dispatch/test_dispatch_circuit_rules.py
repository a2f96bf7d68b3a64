"""The circuit by itself: what counts, when it opens, for how long, and its one probe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.dispatch.circuit import MAX_PAUSE_SECONDS, SUCCESS, Circuit, CircuitRules, weigh
from receiver.model import Outcome
from receiver.settings import ChannelSettings

RULES = CircuitRules(failures=5, pause_seconds=30.0)


@pytest.mark.parametrize(
    ("outcome", "status", "error_class", "weight"),
    [
        (Outcome.DELIVERED, 200, None, SUCCESS),
        *((Outcome.TRANSIENT, status, "HTTPStatus", 1) for status in (408, 425, 429, 500, 503)),
        (Outcome.TRANSIENT, None, "ConnectionError", 1),
        (Outcome.TRANSIENT, 200, "NotAccepted", 1),
        (Outcome.TRANSIENT, None, "TargetBusy", 2),
        (Outcome.UNKNOWN, None, "DeadlineExceeded", 3),
        (Outcome.UNKNOWN, None, "ReadTimeout", 2),
        *(
            (Outcome.PERMANENT, status, "HTTPStatus", 1)
            for status in (301, 307, 401, 402, 403, 404, 407, 410)
        ),
        *(
            (Outcome.PERMANENT, status, "HTTPStatus", SUCCESS)
            for status in (400, 405, 406, 409, 411, 413, 414, 415, 422, 431, 451)
        ),
        (Outcome.PERMANENT, None, "ConfigError", 1),
        (Outcome.PERMANENT, None, "SMTPAuthenticationError", 1),
        (Outcome.PERMANENT, None, "SMTPRecipientsRefused", 1),
        (Outcome.PERMANENT, None, "SMTPDataError", SUCCESS),
        (Outcome.PERMANENT, None, "IsADirectoryError", 1),
        (Outcome.PERMANENT, None, "NotTried", None),
    ],
)
def test_what_counts_against_a_target(
    outcome: Outcome, status: int | None, error_class: str | None, weight: int | None
) -> None:
    assert weigh(outcome, status, error_class) == weight


def test_it_opens_at_the_last_failure_in_a_row() -> None:
    circuit = Circuit(RULES)
    assert [circuit.fail(0.0) for _ in range(4)] == [False] * 4
    assert not circuit.succeed(), "it was not open"
    assert [circuit.fail(0.0) for _ in range(5)] == [False] * 4 + [True]
    assert (circuit.limit(29.9, 8), circuit.state(29.9)) == (0, "open")
    assert (circuit.limit(30.0, 8), circuit.state(30.0)) == (1, "half_open")
    assert circuit.succeed()
    assert (circuit.limit(30.0, 8), circuit.state(30.0), circuit.failures) == (8, "closed", 0)


@pytest.mark.parametrize(
    ("error_class", "share"),
    [("ReadTimeout", 0.7), ("DeadlineExceeded", 1.0)],
    ids=["accepts and never answers", "drips out its answer"],
)
def test_with_the_default_settings_a_hanging_target_is_left_alone_within_a_minute(
    error_class: str, share: float
) -> None:
    """Each send takes that share of the channel's timeout; `apprise_service` sets the first."""
    channel = ChannelSettings.model_validate({"urls": ["file://m.jsonl"]})
    circuit = Circuit(
        CircuitRules(
            failures=channel.circuit_failures, pause_seconds=channel.circuit_pause.total_seconds()
        )
    )
    now, weight = 0.0, weigh(Outcome.UNKNOWN, None, error_class)
    assert (channel.concurrency, weight) != (1, None)
    while circuit.state(now) == "closed":
        now += channel.timeout.total_seconds() * share
        circuit.fail(now, weight or 0)
    assert now < 60


def test_each_failed_probe_doubles_the_pause_until_a_success() -> None:
    circuit, now, pauses = Circuit(RULES), 0.0, []
    for _ in range(4):
        circuit.fail(now)
    for _ in range(8):
        assert circuit.fail(now)
        assert circuit.open_until is not None
        pauses.append(circuit.open_until - now)
        now = circuit.open_until
    assert pauses == [30, 60, 120, 240, 480, 600, 600, 600]
    circuit.succeed()
    assert [circuit.fail(now, 5), circuit.open_until] == [True, now + 30]


def test_a_pause_that_begins_over_the_maximum_stays() -> None:
    circuit = Circuit(CircuitRules(failures=1, pause_seconds=3600.0))
    for now in (0.0, 3600.0):
        assert circuit.fail(now)
        assert circuit.open_until == now + 3600


def test_what_was_under_way_when_it_opened_says_nothing_new() -> None:
    circuit = Circuit(RULES)
    circuit.fail(0.0, 5)
    assert [circuit.fail(1.0, 2) for _ in range(3)] == [False] * 3
    assert (circuit.open_until, circuit.failures) == (30.0, 5)
    assert circuit.succeed(), "a late success shows that it lives"


@pytest.mark.parametrize(("left", "open_until"), [(12.0, 1012.0), (-5.0, 995.0), (10.0**6, 1060.0)])
def test_what_is_restored_is_never_open_for_longer_than_its_pause(
    left: float, open_until: float
) -> None:
    circuit = Circuit(RULES)
    circuit.restore(6, 1000.0, left)
    assert (circuit.failures, circuit.open_until) == (6, open_until)


ACTIONS = st.one_of(
    st.just(("begin",)),
    st.tuples(st.just("end"), st.sampled_from([SUCCESS, 1, 1, 2, 2, None])),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 10.0, 30.0, 100.0])),
)


@given(
    actions=st.lists(ACTIONS, max_size=120),
    most=st.integers(1, 4),
    failures=st.integers(1, 6),
    pause=st.sampled_from([1.0, 30.0, 900.0]),
)
def test_any_outcomes_leave_one_probe_at_most_and_nothing_begins_while_open(
    actions: list[tuple[object, ...]], most: int, failures: int, pause: float
) -> None:
    circuit = Circuit(CircuitRules(failures=failures, pause_seconds=pause))
    now, running, in_a_row = 0.0, 0, 0
    for action in actions:
        match action:
            case ("begin",):
                if circuit.limit(now, most) <= running:
                    continue
                running += 1
                assert circuit.state(now) != "open"
                assert running <= (1 if circuit.state(now) == "half_open" else most)
            case ("end", weight) if running:
                running -= 1
                before = circuit.state(now)
                if weight == SUCCESS:
                    assert circuit.succeed() == (before != "closed")
                    assert circuit.state(now) == "closed"
                    in_a_row = 0
                elif isinstance(weight, int):
                    in_a_row += weight
                    has_opened = circuit.fail(now, weight)
                    assert has_opened == (
                        before == "half_open" or (before == "closed" and in_a_row >= failures)
                    )
                    if has_opened:
                        assert circuit.open_until is not None
                        assert pause <= circuit.open_until - now <= max(pause, MAX_PAUSE_SECONDS)
            case ("wait", seconds):
                assert isinstance(seconds, float)
                now += seconds
    if circuit.state(now) == "closed":
        assert in_a_row < failures
