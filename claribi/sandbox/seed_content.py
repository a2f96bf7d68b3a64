"""The seeded dashboards and reports."""

from datetime import UTC, datetime

from pydantic import JsonValue

from claribi.sandbox.records import Dashboard, Report, ReportStatus, Widget

_DASHBOARDS: tuple[tuple[str, str, int, bool, int, str], ...] = (
    # name, description, workspace, public, created by, created at; the first has its own function
    ("Marketing Overview", "Channels, campaigns and cost per lead", 3, True, 2, "2025-05-21"),
    ("Sales Pipeline", "Open deals by stage and owner", 1, False, 2, "2025-05-23"),
    ("Customer Health", "Churn risk, tickets and usage", 2, False, 1, "2025-05-26"),
    ("Web Traffic", "Visits and conversion by source", 3, True, 5, "2025-06-02"),
    ("Finance Board", "Cash, burn and monthly close", 4, False, 1, "2025-06-04"),
    ("Support Desk", "First answer and time to resolve", 2, False, 6, "2025-06-09"),
    ("Product Adoption", "Features used per account", 1, False, 2, "2025-06-13"),
    ("Subscription Metrics", "MRR, upgrades and cancellations", 3, False, 1, "2025-06-18"),
    ("Inventory", "Stock and days of supply", 1, False, 5, "2025-06-24"),
    ("Hiring Funnel", "Applications by stage", 4, False, 1, "2025-07-01"),
    ("Executive Summary", "One page for the board: revenue and growth", 4, True, 1, "2025-07-07"),
)

_REPORTS: tuple[tuple[int, str, ReportStatus, str, str | None, str | None, str], ...] = (
    # id, name, status, template, schedule, last generated at, created at
    (1, "Weekly Sales Summary", "published", "sales_summary", "weekly", "2025-07-14", "2025-04-10"),
    (4, "Quarterly Board Pack", "draft", "board_pack", None, None, "2025-05-06"),
    (7, "Churn Analysis", "published", "churn_analysis", None, "2025-06-30", "2025-05-19"),
    (11, "Daily Traffic", "scheduled", "web_traffic", "daily", "2025-07-15", "2025-06-11"),
    (14, "Revenue Forecast", "scheduled", "revenue_analysis", "monthly", None, "2025-07-02"),
)


def dashboards() -> list[Dashboard]:
    """Twelve; number 1 is the reference's example, widgets and all."""
    others = [
        Dashboard(
            id=number,
            name=name,
            description=description,
            workspace_id=workspace,
            is_public=public,
            widgets=[
                Widget(
                    id=number * 100 + 1,
                    type="kpi",
                    title=name,
                    position=(0, 0, 4, 2),
                    data_source_id=1 + number % 4,
                    query="SELECT COUNT(*) FROM orders",
                    configuration={"format": "number"},
                )
            ],
            created_by_id=author,
            created_at=day(created, hour=10),
            updated_at=day(created, hour=16),
        )
        for number, (name, description, workspace, public, author, created) in enumerate(
            _DASHBOARDS, start=2
        )
    ]
    return [_revenue_overview(), *others]


def reports() -> list[Report]:
    """Five; number 1 is the reference's example, and the next one created is its number 15."""
    return [
        Report(
            id=number,
            name=name,
            status=status,
            template=template,
            schedule=schedule,
            data_source_ids=[1],
            credits_used=3 if generated else 0,
            content=report_content(name, template) if generated else None,
            last_generated_at=day(generated) if generated else None,
            created_by_id=1,
            created_at=day(created, hour=9),
        )
        for number, name, status, template, schedule, generated, created in _REPORTS
    ]


def report_content(name: str, template: str) -> dict[str, JsonValue]:
    """A generated report's content. Assumption: the reference doesn't show any."""
    return {
        "summary": f"{name}: revenue grew 6.4 % against the period before.",
        "sections": [
            {
                "title": "Key figures",
                "type": "table",
                "columns": ["metric", "value", "change"],
                "rows": [
                    ["Revenue", 108100.0, 0.064],
                    ["Orders", 1542, 0.031],
                    ["Average order", 70.1, 0.032],
                ],
            },
            {
                "title": "What changed",
                "type": "text",
                "text": f"Generated from the {template} template: upgrades carried the growth.",
            },
        ],
    }


def _revenue_overview() -> Dashboard:
    return Dashboard(
        id=1,
        name="Revenue Overview",
        description="Monthly revenue tracking and KPIs",
        workspace_id=3,
        widgets=[
            Widget(
                id=101,
                type="kpi",
                title="Monthly Revenue",
                position=(0, 0, 4, 2),
                data_source_id=1,
                query="SELECT SUM(amount) FROM orders"
                " WHERE created_at >= DATE_TRUNC('month', NOW())",
                configuration={"format": "currency", "currency": "USD"},
            ),
            Widget(
                id=102,
                type="line_chart",
                title="Revenue Trend",
                position=(4, 0, 8, 4),
                data_source_id=1,
                query="SELECT DATE(created_at), SUM(amount) FROM orders GROUP BY 1 ORDER BY 1",
                configuration={"x_axis": "date", "y_axis": "sum"},
            ),
            *(_extra_widget(number) for number in range(103, 107)),
        ],
        created_by_id=1,
        created_at=day("2025-05-20", hour=10),
        updated_at=datetime(2025, 7, 14, 16, 45, tzinfo=UTC),
    )


def _extra_widget(number: int) -> Widget:
    """The reference counts six widgets and shows two."""
    title, query = {
        103: ("Orders", "SELECT COUNT(*) FROM orders"),
        104: ("New Customers", "SELECT COUNT(*) FROM customers"),
        105: ("Refunds", "SELECT COUNT(*) FROM orders WHERE amount < 0"),
        106: ("Notes", None),
    }[number]
    is_text = query is None
    return Widget(
        id=number,
        type="text" if is_text else "kpi",
        title=title,
        position=((number - 103) * 3, 4, 3, 2),
        data_source_id=None if is_text else 1,
        query=query,
        configuration={"text": "Closed on the 3rd working day."} if is_text else {},
    )


def day(text: str, *, hour: int = 0) -> datetime:
    """A date's hour in UTC."""
    return datetime.fromisoformat(text).replace(hour=hour, tzinfo=UTC)
