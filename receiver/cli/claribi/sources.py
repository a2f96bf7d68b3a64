"""`clarihook claribi sources`."""

from pathlib import Path
from typing import Annotated

import typer

from claribi.models import DataSource
from claribi.secrets import masked
from receiver.cli.claribi.account import connect
from receiver.cli.claribi.arguments import (
    LimitOption,
    OrderingOption,
    SearchOption,
    TimeoutOption,
    WaitOption,
    YesOption,
    confirm_deletion,
    options_of,
    read_json,
    take,
)
from receiver.cli.claribi.show import cell, show_fields
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table

app = typer.Typer(help="Data sources: list, get, create, sync, delete.", no_args_is_help=True)


@app.command("list")
def list_sources(
    *,
    status: Annotated[str | None, typer.Option(help="active, paused or error.")] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="database, api, file or cloud.")
    ] = None,
    search: SearchOption = None,
    ordering: OrderingOption = None,
    limit: LimitOption = 100,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """List the data sources.

    Example: clarihook claribi sources list --status error
    """
    with connect(home) as client:
        options = options_of(search, ordering, limit)
        found = take(client.data_sources.list(status=status, type=kind, **options), limit)
    if as_json:
        print_json([source.to_dict() for source in found])
        return
    print_table(
        ("id", "name", "type", "engine", "status", "last synced"),
        [(s.id, s.name, s.type, s.engine, s.status, cell(s.last_synced_at)) for s in found],
    )


@app.command()
def get(source_id: int, home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Show one data source, with its configuration and tables.

    Example: clarihook claribi sources get 1
    """
    with connect(home) as client:
        source = client.data_sources.get(source_id)
    print_json(masked(source.to_dict())) if as_json else _show(source)


@app.command()
def create(
    name: str,
    *,
    kind: Annotated[str, typer.Option("--type", help="database, api, file or cloud.")],
    engine: Annotated[str, typer.Option(help="Such as postgresql.")],
    configuration: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A JSON object: host, password, …; - is standard input."),
    ] = None,
    sync_frequency: Annotated[str | None, typer.Option(help="Such as daily.")] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Connect a new data source.

    Example: clarihook claribi sources create Staging --type database --engine postgresql
    --configuration staging.json
    """
    read = None if configuration is None else read_json(configuration)
    with connect(home) as client:
        source = client.data_sources.create(
            name=name,
            type=kind,
            engine=engine,
            configuration=read,
            sync_frequency=sync_frequency,
        )
    print_json(masked(source.to_dict())) if as_json else _show(source)


@app.command()
def sync(
    source_id: int,
    *,
    wait: WaitOption = False,
    timeout: TimeoutOption = 600,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Start a sync; with --wait, show the data source when it has ended.

    Example: clarihook claribi sources sync 1 --wait
    """
    with connect(home) as client:
        task = client.data_sources.sync(source_id)
        if not wait:
            text = f"{task.message or 'Sync started'} (task {task.task_id}), "
            text += f"about {task.estimated_duration or 'an unknown time'}"
            print_json(task.to_dict()) if as_json else print_line(text)
            return
        source = task.wait(timeout)
    print_json(masked(source.to_dict())) if as_json else _show(source)


@app.command()
def delete(
    source_id: int,
    *,
    yes: YesOption = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Delete a data source, after a question. Requires Analyst role or above.

    Example: clarihook claribi sources delete 4 --yes
    """
    with connect(home) as client:
        if not yes:
            name = client.data_sources.get(source_id).name
            confirm_deletion(f"data source {source_id} ({name})", yes=yes)
        done = client.data_sources.delete(source_id)
    if as_json:
        print_json({"id": source_id, "already_gone": done.already_gone})
        return
    print_line(f"deleted data source {source_id}")


def _show(source: DataSource) -> None:
    configuration = masked(source.configuration.to_dict()) if source.configuration else {}
    show_fields(
        {
            "id": source.id,
            "name": source.name,
            "type": source.type,
            "engine": source.engine,
            "status": source.status,
            "sync": source.sync_frequency,
            "last synced": source.last_synced_at,
            "tables": source.tables,
            **{f"  {name}": value for name, value in configuration.items()},
        }
    )
