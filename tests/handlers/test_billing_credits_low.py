from collections.abc import Callable
from typing import Any

import pytest

from receiver.testing import HandlerRun

HANDLER = "billing_credits_low.warn"
Run = Callable[..., HandlerRun]


def usage(used: int = 1380, total: int = 1500) -> dict[str, Any]:
    return {
        "billing_period": {"start": "2025-07-01", "end": "2025-07-31"},
        "plan": "professional",
        "ai_credits": {"total": total, "used": used, "remaining": total - used},
        "data_sources": {"limit": 15, "used": 8},
        "users": {"limit": 15, "active": 11},
    }


PLANS = [
    {"slug": "trial", "name": "Trial", "price": 0, "users": 1, "ai_credits": 50},
    {"slug": "professional", "name": "Professional", "price": 199, "users": 15,
     "ai_credits": 1500, "data_sources": 50},
]  # fmt: skip
PRICING = {"GET billing/pricing-config/": {"plans": PLANS}}


def low(at: str = "2025-07-15T08:00:00Z", **data: Any) -> dict[str, Any]:
    return {"event": "billing.credits_low", "timestamp": at, "data": data}


def test_usage_forecast_and_prices_are_posted(run: Run) -> None:
    (message,) = run(low(), claribi=PRICING | {"GET billing/usage/": usage()}).messages
    assert (message.title, message.severity) == ("The AI credits are low: 120 left", "warning")
    assert message.body.split("\n\n") == [
        (
            "              used    of\n"
            "AI credits    1380  1500\n"
            "Data sources     8    15\n"
            "Users           11    15"
        ),
        "At this rate they run out on Wednesday, 16 July 2025.",
        (
            "Plan                  price  AI credits  users  data sources\n"
            "Trial                     0          50      1\n"
            "Professional (yours)    199        1500     15            50"
        ),
    ]


@pytest.mark.parametrize(
    ("used", "at", "text"),
    [
        (1400, "2025-07-14T08:00:00Z", "run out on Tuesday, 15 July 2025"),
        (750, "2025-07-15T08:00:00Z", "run out on Wednesday, 30 July 2025"),
        (10, "2025-07-15T08:00:00Z", "last until the period ends on Thursday, 31 July 2025"),
        (0, "2025-07-15T08:00:00Z", "there is no forecast"),
        (1500, "2025-07-15T08:00:00Z", "run out on Tuesday, 15 July 2025"),
        (1499, "2025-06-30T23:00:00Z", "run out on Monday, 30 June 2025"),
    ],
)
def test_the_forecast_goes_on_at_the_rate_so_far(run: Run, used: int, at: str, text: str) -> None:
    api = PRICING | {"GET billing/usage/": usage(used)}
    assert text in run(low(at), claribi=api).messages[0].body


def test_each_answer_may_be_missing_alone(run: Run) -> None:
    (message,) = run(low(remaining=120), claribi=PRICING).messages
    assert message.title == "The AI credits are low: 120 left"
    assert "The usage could not be fetched: GET billing/usage/: 404" in message.body
    assert "Professional" in message.body
    (message,) = run(
        low(),
        claribi={
            "GET billing/usage/": usage(),
        },
    ).messages
    assert "The pricing could not be fetched" in message.body
    assert "run out on" in message.body


def test_without_api_and_fields_it_still_warns(run: Run) -> None:
    (message,) = run(low()).messages
    assert message.title == "The AI credits are low"


def test_a_burn_down_chart_is_attached_and_remembers(run: Run) -> None:
    api = PRICING | {"GET billing/usage/": usage()}
    store = {"credits/2025-07-01": [("2025-07-10", 700), ("2025-07-15", 300)]}
    done = run(low(), claribi=api, store=store)
    (message,) = done.messages
    (picture,) = message.attachments
    assert (picture.name, picture.content_type) == ("credits.png", "image/png")
    assert picture.content.startswith(b"\x89PNG")
    assert "Credits left" not in message.body
    # What was known of today is replaced by what is known now.
    kept = [tuple(each) for each in done.values["credits/2025-07-01"]]
    assert kept == [("2025-07-10", 700), ("2025-07-15", 120)]


def test_without_the_extra_a_line_of_bars_says_it(run: Run, no_matplotlib: None) -> None:
    store = {"credits/2025-07-01": [("2025-07-10", 700)]}
    api = PRICING | {"GET billing/usage/": usage()}
    (message,) = run(low(), claribi=api, store=store).messages
    assert message.attachments == ()
    assert "Credits left: █▄▁" in message.body


def test_a_replay_remembers_nothing(run: Run) -> None:
    done = run(low(), claribi={"GET billing/usage/": usage()}, replaying=True)
    assert done.values == {}
