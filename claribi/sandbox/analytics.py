"""`analytics/query/`: a question, and rows that fit it."""

import re

from claribi.sandbox import balance
from claribi.sandbox.bodies import Query
from claribi.sandbox.data_sources import check_usable
from claribi.sandbox.incoming import Incoming
from claribi.sandbox.shapes import Free, QueryResult
from claribi.sandbox.world import World

QUERY_COST = 1

_PRODUCTS: list[Free] = [
    {"product_name": "Enterprise Plan", "revenue": 45000.00},
    {"product_name": "Professional Plan", "revenue": 32000.00},
    {"product_name": "Starter Plan", "revenue": 18500.00},
    {"product_name": "Add-on: Extra Credits", "revenue": 7200.00},
    {"product_name": "Annual Upgrade", "revenue": 5400.00},
]
_PRODUCTS_SUMMARY = (
    "Enterprise Plan was the top revenue product last month at $45,000,"
    " followed by Professional Plan at $32,000."
)
_REGIONS: list[Free] = [
    {"region": "Europe", "orders": 812},
    {"region": "North America", "orders": 547},
    {"region": "Asia-Pacific", "orders": 183},
]
_MONTHS: list[Free] = [
    {"month": "2025-04", "revenue": 94100.00},
    {"month": "2025-05", "revenue": 98750.00},
    {"month": "2025-06", "revenue": 101600.00},
    {"month": "2025-07", "revenue": 108100.00},
]

_ANSWERS: tuple[tuple[re.Pattern[str], list[Free], str, str], ...] = (
    # words in the question, rows, summary, chart; the last one fits every question
    (
        re.compile(r"\b(region|country|where)", re.IGNORECASE),
        _REGIONS,
        "Europe placed the most orders, 812, followed by North America with 547.",
        "bar_chart",
    ),
    (
        re.compile(r"\b(trend|month by month|over time|per month|monthly)\b", re.IGNORECASE),
        _MONTHS,
        "Revenue grew every month, from $94,100 in April to $108,100 in July.",
        "line_chart",
    ),
    (re.compile(""), _PRODUCTS, _PRODUCTS_SUMMARY, "bar_chart"),
)


def run_query(world: World, incoming: Incoming[Query]) -> QueryResult:
    """The answer, for one credit. `summary` is text only; the other formats bring the rows.

    The reference's sample, a `table`, has a chart suggestion too, so both formats have it.
    """
    body = incoming.input
    check_usable(world, body.data_source_ids)
    balance.spend(world, QUERY_COST)
    rows, summary, chart = _answer(body.query)
    result = QueryResult(
        query=body.query,
        summary=summary,
        credits_used=QUERY_COST,
        credits_remaining=world.state.credits_remaining,
    )
    if body.format != "summary":
        result.results, result.visualization_suggestion = rows, chart
    return result


def _answer(question: str) -> tuple[list[Free], str, str]:
    for words, rows, summary, chart in _ANSWERS:
        if words.search(question):
            return rows, summary, chart
    raise AssertionError("the last answer fits every question")
