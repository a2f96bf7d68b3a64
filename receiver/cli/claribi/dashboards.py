"""`clarihook claribi dashboards`."""

from pathlib import Path
from typing import Annotated

import typer

from claribi.models import Dashboard
from receiver.cli.claribi.account import connect
from receiver.cli.claribi.arguments import (
    LimitOption,
    OrderingOption,
    SearchOption,
    YesOption,
    confirm_deletion,
    options_of,
    read_json,
    take,
)
from receiver.cli.claribi.show import cell, show_fields
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table
from receiver.errors import UsageError

app = typer.Typer(help="Dashboards: list, get, create, update, delete.", no_args_is_help=True)

WorkspaceOption = Annotated[int | None, typer.Option(metavar="ID", help="Of this workspace.")]
DescriptionOption = Annotated[str | None, typer.Option(help="What it is about.")]


@app.command("list")
def list_dashboards(
    *,
    workspace: WorkspaceOption = None,
    search: SearchOption = None,
    ordering: OrderingOption = None,
    limit: LimitOption = 100,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """List the dashboards that you may see.

    Example: clarihook claribi dashboards list --workspace 3
    """
    with connect(home) as client:
        options = options_of(search, ordering, limit)
        found = take(client.dashboards.list(workspace_id=workspace, **options), limit)
    if as_json:
        print_json([one.to_dict() for one in found])
        return
    print_table(
        ("id", "name", "workspace", "widgets", "public", "updated"),
        [
            (d.id, d.name, d.workspace_id, d.widget_count, cell(d.is_public), cell(d.updated_at))
            for d in found
        ],
    )


@app.command()
def get(dashboard_id: int, home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Show one dashboard with its widgets.

    Example: clarihook claribi dashboards get 1
    """
    with connect(home) as client:
        dashboard = client.dashboards.get(dashboard_id)
    print_json(dashboard.to_dict()) if as_json else _show(dashboard)


@app.command()
def create(
    name: str,
    *,
    description: DescriptionOption = None,
    workspace: WorkspaceOption = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Create a dashboard.

    Example: clarihook claribi dashboards create "Marketing Funnel" --workspace 3
    """
    with connect(home) as client:
        dashboard = client.dashboards.create(
            name=name, description=description, workspace_id=workspace
        )
    print_json(dashboard.to_dict()) if as_json else _show(dashboard)


@app.command()
def update(
    dashboard_id: int,
    *,
    name: Annotated[str | None, typer.Option(help="The new name.")] = None,
    description: DescriptionOption = None,
    configuration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A JSON object; - is standard input.")
    ] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Change a dashboard's name, description or configuration.

    Example: clarihook claribi dashboards update 1 --name Revenue
    """
    if name is None and description is None and configuration is None:
        raise UsageError("nothing to change: give --name, --description or --configuration")
    read = None if configuration is None else read_json(configuration)
    with connect(home) as client:
        changed = client.dashboards.update(
            dashboard_id, name=name, description=description, configuration=read
        )
        # The reference doesn't say whether PUT answers with the dashboard.
        dashboard = changed or client.dashboards.get(dashboard_id)
    print_json(dashboard.to_dict()) if as_json else _show(dashboard)


@app.command()
def delete(
    dashboard_id: int,
    *,
    yes: YesOption = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Delete a dashboard, after a question. Requires edit access.

    Example: clarihook claribi dashboards delete 4 --yes
    """
    with connect(home) as client:
        if not yes:
            name = client.dashboards.get(dashboard_id).name
            confirm_deletion(f"dashboard {dashboard_id} ({name})", yes=yes)
        done = client.dashboards.delete(dashboard_id)
    if as_json:
        print_json({"id": dashboard_id, "already_gone": done.already_gone})
        return
    print_line(f"deleted dashboard {dashboard_id}")


def _show(dashboard: Dashboard) -> None:
    show_fields(
        {
            "id": dashboard.id,
            "name": dashboard.name,
            "description": dashboard.description,
            "workspace": dashboard.workspace_id,
            "public": dashboard.is_public,
            "created by": dashboard.created_by.name if dashboard.created_by else None,
            "updated": dashboard.updated_at,
        }
    )
    if dashboard.widgets:
        print_line()
        print_table(
            ("widget", "type", "title", "data source"),
            [(w.id, w.type, w.title, w.data_source_id) for w in dashboard.widgets],
        )
