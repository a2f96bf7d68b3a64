"""`clarihook claribi reports`."""

import json
from typing import Annotated

import typer

from claribi.models import Report
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
    read_pairs,
    take,
)
from receiver.cli.claribi.show import cell, show_fields
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table

app = typer.Typer(help="Reports: list, get, create, wait, delete.", no_args_is_help=True)


@app.command("list")
def list_reports(
    *,
    status: Annotated[str | None, typer.Option(help="draft, published or scheduled.")] = None,
    search: SearchOption = None,
    ordering: OrderingOption = None,
    limit: LimitOption = 100,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """List the reports that you may see.

    Example: clarihook claribi reports list --status published
    """
    with connect(home) as client:
        options = options_of(search, ordering, limit)
        found = take(client.reports.list(status=status, **options), limit)
    if as_json:
        print_json([report.to_dict() for report in found])
        return
    print_table(
        ("id", "name", "status", "template", "schedule", "last generated"),
        [
            (r.id, r.name, r.status, r.template, r.schedule, cell(r.last_generated_at))
            for r in found
        ],
    )


@app.command()
def get(report_id: int, home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Show one report with its content.

    Example: clarihook claribi reports get 1 --json
    """
    with connect(home) as client:
        report = client.reports.get(report_id)
    print_json(report.to_dict()) if as_json else _show(report)


@app.command()
def create(
    name: str,
    *,
    template: Annotated[str, typer.Option(help="Such as sales_summary or revenue_analysis.")],
    source: Annotated[
        list[int] | None,
        typer.Option("--source", metavar="ID", help="A data source; may be given several times."),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="NAME=VALUE", help="Such as date_range=last_30_days."),
    ] = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = 600,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Have a report made; with --wait, show it when it is ready. Costs 2 to 5 AI credits.

    Example: clarihook claribi reports create July --template sales_summary --source 1 --wait
    """
    with connect(home) as client:
        task = client.reports.create(
            name=name,
            template=template,
            data_source_ids=source,
            parameters=read_pairs(parameter) or None,
        )
        if not wait:
            text = f"report {task.id} is {task.status} (task {task.task_id}), "
            text += f"about {task.estimated_completion or 'an unknown time'}, "
            text += f"{task.credits_used} credits"
            print_json(task.to_dict()) if as_json else print_line(text)
            return
        report = task.wait(timeout)
    print_json(report.to_dict()) if as_json else _show(report)


@app.command()
def wait(
    report_id: int,
    *,
    timeout: TimeoutOption = 600,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Wait until a report is made, and show it. The status is 1 if that fails.

    Example: clarihook claribi reports wait 15 --timeout 120
    """
    with connect(home) as client:
        report = client.reports.wait(report_id, timeout=timeout)
    print_json(report.to_dict()) if as_json else _show(report)


@app.command()
def delete(
    report_id: int,
    *,
    yes: YesOption = False,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Delete a report, after a question.

    Example: clarihook claribi reports delete 4 --yes
    """
    with connect(home) as client:
        if not yes:
            name = client.reports.get(report_id).name
            confirm_deletion(f"report {report_id} ({name})", yes=yes)
        done = client.reports.delete(report_id)
    if as_json:
        print_json({"id": report_id, "already_gone": done.already_gone})
        return
    print_line(f"deleted report {report_id}")


def _show(report: Report) -> None:
    show_fields(
        {
            "id": report.id,
            "name": report.name,
            "status": report.status,
            "template": report.template,
            "schedule": report.schedule,
            "last generated": report.last_generated_at,
            "created by": report.created_by.name if report.created_by else None,
        }
    )
    if report.content is not None:
        print_line()
        # Its shape is the template's: indented JSON is readable whatever it is.
        for line in json.dumps(report.content, indent=2).splitlines():
            print_line(line)
