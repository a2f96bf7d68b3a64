"""The state a sandbox starts with; the reference's own examples are all in it."""

import secrets
from datetime import UTC, datetime

from claribi.sandbox.records import DataSource, Goal, State
from claribi.sandbox.seed_content import dashboards, reports


def seed_state() -> State:
    """A fresh state: 8 data sources, 12 dashboards, 5 reports, 1347 of 1500 credits left."""
    return State(
        signing_key=secrets.token_hex(32),
        credits_total=1500,
        credits_remaining=1347,
        data_sources={source.id: source for source in _data_sources()},
        dashboards={dashboard.id: dashboard for dashboard in dashboards()},
        reports={report.id: report for report in reports()},
        goals={goal.id: goal for goal in _goals()},
        # The next report is the reference's number 15.
        sequences={"data_source": 8, "dashboard": 12, "report": 14},
    )


def _data_sources() -> list[DataSource]:
    return [
        DataSource(
            id=1,
            name="Production PostgreSQL",
            type="database",
            engine="postgresql",
            configuration={
                "host": "db.example.com",
                "port": 5432,
                "database": "analytics",
                "schema": "public",
            },
            tables=["orders", "customers", "products", "sessions"],
            last_synced_at=at("2025-07-15T08:00:00Z"),
            created_at=at("2025-03-10T14:20:00Z"),
            updated_at=at("2025-07-10T11:30:00Z"),
            records_per_sync=15420,
            sync_seconds=45,
        ),
        _api(2, "Google Analytics", "google_analytics", "2025-04-01T09:15:00Z", 8731),
        _file(3, "Sales Targets 2025", "google_sheets", "2025-04-03T13:05:00Z", 64),
        _api(4, "Stripe Payments", "stripe", "2025-04-18T08:40:00Z", 2210),
        DataSource(
            id=5,
            name="Legacy MySQL",
            type="database",
            engine="mysql",
            status="error",
            configuration={"host": "mysql.example.com", "port": 3306, "database": "shop"},
            sync_frequency="hourly",
            tables=["invoices", "stock"],
            last_synced_at=at("2025-07-11T02:00:00Z"),
            created_at=at("2025-04-22T10:00:00Z"),
            updated_at=at("2025-07-11T03:00:00Z"),
            sync_seconds=30,
            sync_error="Connection to mysql.example.com:3306 refused",
        ),
        DataSource(
            id=6,
            name="Data Warehouse",
            type="cloud",
            engine="snowflake",
            configuration={"account": "acme-eu", "warehouse": "REPORTING", "database": "DWH"},
            tables=["fact_orders", "fact_visits", "dim_customer", "dim_date"],
            last_synced_at=at("2025-07-15T05:00:00Z"),
            created_at=at("2025-05-02T15:45:00Z"),
            updated_at=at("2025-07-01T09:00:00Z"),
            records_per_sync=184_202,
            sync_seconds=120,
        ),
        _file(7, "Support Tickets CSV", "csv", "2025-05-30T07:25:00Z", 930),
        DataSource(
            id=8,
            name="Old HubSpot",
            type="api",
            engine="hubspot",
            status="paused",
            configuration={"portal": "4471"},
            sync_frequency="weekly",
            last_synced_at=None,
            created_at=at("2025-06-12T16:10:00Z"),
            updated_at=at("2025-06-20T08:00:00Z"),
        ),
    ]


def _api(number: int, name: str, engine: str, created_at: str, records: int) -> DataSource:
    return DataSource(
        id=number,
        name=name,
        type="api",
        engine=engine,
        configuration={"account": "acme"},
        last_synced_at=at("2025-07-15T06:00:00Z"),
        created_at=at(created_at),
        updated_at=at(created_at),
        records_per_sync=records,
        sync_seconds=60,
    )


def _file(number: int, name: str, engine: str, created_at: str, records: int) -> DataSource:
    return DataSource(
        id=number,
        name=name,
        type="file",
        engine=engine,
        configuration={"path": f"uploads/{number}"},
        sync_frequency="weekly",
        last_synced_at=at("2025-07-14T01:00:00Z"),
        created_at=at(created_at),
        updated_at=at(created_at),
        records_per_sync=records,
        sync_seconds=5,
    )


def _goals() -> list[Goal]:
    """The first sync of Production PostgreSQL takes the first goal over 75 %."""
    return [
        Goal(
            id=1,
            name="Q3 revenue",
            data_source_id=1,
            current_value=74_000,
            target_value=100_000,
            value_per_record=0.1,
        ),
        Goal(
            id=2,
            name="10,000 visits a day",
            data_source_id=2,
            current_value=4_100,
            target_value=10_000,
            value_per_record=0.05,
        ),
    ]


def at(text: str) -> datetime:
    """An ISO 8601 moment in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)
