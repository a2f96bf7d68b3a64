"""`clarihook claribi`: every endpoint of the clariBI API, with the settings' [claribi] account."""

from pathlib import Path
from typing import Annotated

import typer

from receiver.cli.claribi import dashboards, reports, sources
from receiver.cli.claribi.account import connect
from receiver.cli.claribi.arguments import read_json, read_pairs
from receiver.cli.claribi.show import show_chart, show_fields, show_rows
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table

app = typer.Typer(help="Call the clariBI API with the account of [claribi] in the settings.")
app.add_typer(sources.app, name="sources")
app.add_typer(dashboards.app, name="dashboards")
app.add_typer(reports.app, name="reports")


@app.command()
def whoami(home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Show the user, the organization, and the AI credits that remain.

    Example: clarihook claribi whoami
    """
    with connect(home) as client:
        status = client.auth.status()
    if as_json:
        print_json(status.to_dict())
        return
    user, organization = status.user, status.organization
    show_fields(
        {
            "user": f"{user.first_name} {user.last_name} <{user.email}>".strip(),
            "role": user.role,
            "organization": organization.name,
            "plan": organization.plan,
            "AI credits": organization.ai_credits_remaining,
            "API": client.base_url,
        }
    )


@app.command()
def query(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    source: Annotated[
        list[int] | None,
        typer.Option("--source", metavar="ID", help="A data source; may be given several times."),
    ] = None,
    answer_format: Annotated[
        str, typer.Option("--format", help="table, summary or chart.")
    ] = "table",
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Ask a question that an AI answers. Costs 1 AI credit.

    Example: clarihook claribi query "Top 5 products by revenue?" --source 1 --format chart
    """
    with connect(home) as client:
        result = client.analytics.query(question, data_source_ids=source, format=answer_format)
    if as_json:
        print_json(result.to_dict())
        return
    if result.summary:
        print_line(result.summary)
    if answer_format == "chart":
        show_chart(result.results or [])
    elif answer_format != "summary":
        show_rows(result.results or [])
    print_line(f"credits: {result.credits_used} used, {result.credits_remaining} remain", "dim")


@app.command()
def usage(home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Show what the current billing period has used up.

    Example: clarihook claribi usage --json
    """
    with connect(home) as client:
        used = client.billing.usage()
    if as_json:
        print_json(used.to_dict())
        return
    period, left = used.billing_period, used.ai_credits
    print_line(f"{used.plan} plan, {period.start} to {period.end}")
    rows: list[tuple[str, int, int | None, int | None]] = [
        ("AI credits", left.used, left.total, left.remaining)
    ]
    if used.data_sources is not None:
        rows.append(_limited("data sources", used.data_sources.used, used.data_sources.limit))
    if used.users is not None:
        rows.append(_limited("users", used.users.active, used.users.limit))
    print_table(("what", "used", "of", "left"), rows)


@app.command()
def pricing(home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """Show all plans, with their prices and limits.

    Example: clarihook claribi pricing
    """
    with connect(home) as client:
        config = client.billing.pricing_config()
    if as_json:
        print_json(config.to_dict())
        return
    print_table(
        ("plan", "price", "days", "users", "AI credits", "data sources", "features"),
        [
            (
                plan.name,
                plan.price,
                plan.duration_days,
                plan.users,
                plan.ai_credits,
                plan.data_sources,
                ", ".join(plan.features),
            )
            for plan in config.plans
        ],
    )


@app.command()
def request(
    method: Annotated[str, typer.Argument(help="GET, POST, PUT, PATCH or DELETE.")],
    path: Annotated[str, typer.Argument(help="Such as reports/1/ or /api/reports/1/.")],
    *,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="A query parameter; repeatable."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="The JSON body; - reads standard input."),
    ] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Send any request, and print the answer's JSON as it came.

    With --json the output is JSON always: null for no content, a string for any other text.

    Example: clarihook claribi request GET reports/ --param status=draft
    """
    body = None if data is None else read_json(data)
    with connect(home) as client:
        reply = client.raw.request(method, path, params=read_pairs(param), json=body)
    try:
        value = reply.json()
    except ValueError:
        print_json(reply.text) if as_json else print_line(reply.text)
        return
    if reply.body or as_json:
        print_json(value)
    else:
        print_line(f"{reply.status}, no content")


def _limited(what: str, used: int, limit: int | None) -> tuple[str, int, int | None, int | None]:
    return what, used, limit, None if limit is None else limit - used
