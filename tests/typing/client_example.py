"""The client's API, as mypy --strict must accept it for its users. Checked, never run."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import assert_type

from claribi import (
    ApiStatusError,
    AsyncClariBI,
    AsyncPages,
    ClariBI,
    Credits,
    NotFoundError,
    OutcomeUnknownError,
    Pages,
    Timeout,
    ValidationError,
    WebhookWaker,
    jwt_tokens,
)
from claribi.enums import DataSourceStatus, Role
from claribi.hooks import Happening, RetryScheduled
from claribi.models import (
    Dashboard,
    DataSource,
    DataSourceSummary,
    MfaChallenge,
    Page,
    PricingConfig,
    Report,
    ReportSummary,
    TokenPair,
    Usage,
)


def count_retries(happening: Happening) -> None:
    if isinstance(happening, RetryScheduled):
        print(happening.request.path, happening.seconds)


async def asynchronous() -> None:
    waker = WebhookWaker()
    async with AsyncClariBI(
        base_url="https://claribi.com/api/",
        api_key="made-up",
        api_key_style="bearer",
        timeout=Timeout(read_seconds=10),
        retries=3,
        hooks=[count_retries],
        waker=waker,
    ) as client:
        assert_type(await client.data_sources.get(1), DataSource)
        assert_type(client.data_sources.list(status="error"), AsyncPages[DataSourceSummary])
        async for source in client.data_sources.list(
            status=DataSourceStatus.ERROR,
            ordering="-created_at",
            created_after=datetime(2025, 1, 1, tzinfo=UTC),
            page_size=100,
        ):
            assert_type(source, DataSourceSummary)
        assert_type(await client.reports.list().first(), ReportSummary | None)
        assert_type(await client.reports.list(status="draft").count(), int)
        task = await client.reports.create(name="July", template="sales_summary")
        assert_type(await task.wait(timeout=timedelta(minutes=5)), Report)
        assert_type(await (await client.data_sources.sync("1")).wait(60), DataSource)
        assert_type(await client.billing.usage(), Usage)
        assert_type(await client.auth.login("a@b.c", "p"), TokenPair | MfaChallenge)
        assert_type((await client.auth.status()).user.role, Role | None)
        assert_type(client.with_options(retries=0), AsyncClariBI)
        assert_type(client.credits, Credits)
        await client.reports.get(1, 2)  # type: ignore[call-arg]  # one id only


def synchronous() -> None:
    with ClariBI(email="a@b.c", password="p", totp=lambda: "123456") as client:
        assert_type(client.data_sources.get(1), DataSource)
        assert_type(client.data_sources.list(type="api", search="x"), Pages[DataSourceSummary])
        for dashboard in client.dashboards.list(workspace_id=3):
            assert_type(dashboard.id, int)
        assert_type(client.dashboards.update(1, name="Revenue"), Dashboard | None)
        assert_type(client.reports.list().page(2), Page[ReportSummary])
        task = client.reports.create(name="July", template="sales_summary", data_source_ids=[1])
        assert_type(task.wait(timeout=60), Report)
        assert_type(client.data_sources.sync(1).wait(), DataSource)
        pricing = client.billing.pricing_config()
        assert_type(pricing, PricingConfig)
        assert_type(pricing.plans[0].price, int | float | Decimal | None)
        assert_type(client.raw.request("GET", "reports/").status, int)
        client.data_sources.list(statsu="x")  # type: ignore[call-arg]  # a typing error
        client.dashboards.update(1, nmae="x")  # type: ignore[call-arg]  # a typing error
        client.dashboards.update(1, extra={"theme": "dark"})
        client.data_sources.get([1])  # type: ignore[arg-type]  # no id


def failing(client: ClariBI) -> None:
    try:
        client.reports.create(name="July", template="sales_summary")
    except ValidationError as error:
        assert_type(error.field_errors, dict[str, list[str]])
    except NotFoundError as error:
        assert_type(error.status, int)
    except ApiStatusError as error:
        assert_type(error.retry_after, float | None)
    except OutcomeUnknownError as error:
        print(error.reconcile())
    ClariBI(auth=jwt_tokens("access", "refresh"))
