"""What is said now and was not said then: no message gets lost between the two."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from receiver.model import Message, Severity
from receiver.replay.comparing import Change, compare, verdict_of

MESSAGES = st.lists(
    st.builds(
        Message,
        channel=st.sampled_from(["ops", "finance"]),
        title=st.sampled_from(["Low", "High"]),
        body=st.sampled_from(["a\nb", "a\nc", ""]),
        severity=st.sampled_from([Severity.INFO, Severity.CRITICAL]),
    ),
    max_size=5,
)


@given(MESSAGES, st.randoms())
def test_the_same_messages_in_any_order_are_no_change(then: list[Message], random: object) -> None:
    now = sorted(then, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert compare(then, now) == []


@given(MESSAGES, MESSAGES)
def test_the_changes_lead_from_then_to_now(then: list[Message], now: list[Message]) -> None:
    changes = compare(then, now)
    said = Counter(then)
    said.subtract(change.then for change in changes if change.then)
    said.update(change.now for change in changes if change.now)
    assert +said == Counter(now)
    for change in changes:
        assert change.then != change.now
        if change.then and change.now:
            assert change.then.channel == change.now.channel
        marks = {line[0] for line in change.lines}
        assert marks <= {"+", "-", " "}
        assert marks & {"+", "-"}
    verdict = verdict_of(then, now, changes)
    assert (verdict == "same") is (Counter(then) == Counter(now))
    assert (verdict == "new") is (not then and bool(now))
    assert (verdict == "gone") is (bool(then) and not now)


def test_a_change_reads_as_a_diff() -> None:
    then = Message(channel="ops", title="Low", body="left: 3\nsince: May")
    now = Message(channel="ops", title="Low", body="left: 4\nsince: May", severity=Severity.WARNING)
    assert Change(then=then, now=now).lines == [
        "- to ops, info: Low",
        "- left: 3",
        "+ to ops, warning: Low",
        "+ left: 4",
        "  since: May",
    ]
