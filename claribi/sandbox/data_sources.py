"""`data-sources/`: list, show, create, sync and delete."""

import re

from pydantic import JsonValue

from claribi.sandbox import jobs
from claribi.sandbox.bodies import DataSourceCreate, DataSourceQuery
from claribi.sandbox.errors import ApiError, invalid, not_found
from claribi.sandbox.incoming import Incoming, answer_list
from claribi.sandbox.people import DATA_SOURCE_LIMIT
from claribi.sandbox.records import DataSource
from claribi.sandbox.shapes import DataSourceDetail, DataSourceSummary, Page, SyncStarted
from claribi.sandbox.world import World

_SECRET = re.compile(r"pass|secret|token|key|credential|dsn", re.IGNORECASE)


def list_data_sources(world: World, incoming: Incoming[DataSourceQuery]) -> Page[DataSourceSummary]:
    """All data sources of the organization."""
    return answer_list(incoming, list(world.state.data_sources.values()), summary)


def get_data_source(world: World, incoming: Incoming[None]) -> DataSourceDetail:
    """One data source."""
    return detail(find(world, incoming.id))


def create_data_source(world: World, incoming: Incoming[DataSourceCreate]) -> DataSourceDetail:
    """A new connection; its password is taken and never shown."""
    body, sources = incoming.input, world.state.data_sources
    if any(source.name.casefold() == body.name.casefold() for source in sources.values()):
        raise ApiError(409, detail=f"A data source named {body.name!r} already exists.")
    if len(sources) >= DATA_SOURCE_LIMIT:
        raise ApiError(
            422,
            "Data source limit reached",
            detail=f"The plan allows {DATA_SOURCE_LIMIT} data sources; delete one first.",
        )
    now = world.clock.moment()
    source = DataSource(
        id=world.state.next_id("data_source"),
        name=body.name,
        type=body.type,
        engine=body.engine,
        configuration=_without_secrets(body.configuration),
        sync_frequency=body.sync_frequency,
        created_at=now,
        updated_at=now,
    )
    sources[source.id] = source
    return detail(source)


def sync_data_source(world: World, incoming: Incoming[None]) -> SyncStarted:
    """Start a sync. 422 when paused; 409 while one is running (assumptions)."""
    source = find(world, incoming.id)
    if source.status == "paused":
        raise ApiError(422, "Data source is paused", detail="Resume it before you sync it.")
    if running := jobs.running_job(world, "sync", source.id):
        raise ApiError(
            409, "A sync is already running", detail=f"Task {running.task_id} has not ended."
        )
    job = jobs.start_sync(world, source)
    return SyncStarted(message="Sync started", task_id=job.task_id, estimated_duration="2 minutes")


def delete_data_source(world: World, incoming: Incoming[None]) -> None:
    """Delete it, and forget a sync that is running."""
    source = find(world, incoming.id)
    jobs.cancel(world, "sync", source.id)
    del world.state.data_sources[source.id]


def find(world: World, number: int) -> DataSource:
    """The data source. Raises ApiError 404."""
    source = world.state.data_sources.get(number)
    if source is None:
        raise not_found("data source", number)
    return source


def check_usable(world: World, numbers: list[int]) -> None:
    """Raises ApiError 400 for ids that don't exist, 422 for paused data sources."""
    sources = world.state.data_sources
    missing = [f"There is no data source {number}." for number in numbers if number not in sources]
    if missing:
        raise invalid({"data_source_ids": missing})
    for number in numbers:
        if sources[number].status == "paused":
            raise ApiError(
                422, "Data source is paused", detail=f"{sources[number].name} is paused."
            )


def summary(source: DataSource) -> DataSourceSummary:
    """As lists show it."""
    return DataSourceSummary(
        id=source.id,
        name=source.name,
        type=source.type,
        engine=source.engine,
        status=source.status,
        last_synced_at=source.last_synced_at,
        created_at=source.created_at,
    )


def detail(source: DataSource) -> DataSourceDetail:
    """In full."""
    return DataSourceDetail(
        id=source.id,
        name=source.name,
        type=source.type,
        engine=source.engine,
        status=source.status,
        configuration=source.configuration,
        sync_frequency=source.sync_frequency,
        last_synced_at=source.last_synced_at,
        tables=source.tables,
        created_at=source.created_at,
        updated_at=source.updated_at,
    )


def _without_secrets(configuration: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Assumption: as in the reference's example, what is secret doesn't come back."""
    return {key: value for key, value in configuration.items() if not _SECRET.search(key)}
