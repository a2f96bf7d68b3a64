"""`clarihook token`: who may look into the console."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from receiver.cli.deployment import opened
from receiver.cli.options import HERE, HomeOption, JsonOption
from receiver.cli.output import print_json, print_line, print_table
from receiver.cli.times import iso, shown
from receiver.durations import parse_duration
from receiver.errors import UsageError
from receiver.model import Role, Token, to_ms
from receiver.settings import Settings, load_settings
from receiver.settings.problems import name_hint

app = typer.Typer(help="Say who may look into the console.")

_MAX_NAME_CHARS = 80


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is: what they do is noted under it.")],
    *,
    role: Annotated[
        Role, typer.Option(help="viewer: look at everything. operator: acknowledge events too.")
    ] = Role.OPERATOR,
    expires: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Ends after so long: 12h, 90d.")
    ] = None,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Make a token for one person, and print it. It is shown this once: the store keeps a digest.

    Example: clarihook token create ada

    Example: clarihook token create wall-screen --role viewer --expires 90d
    """
    settings = load_settings(home, needs_secrets=False)
    now = datetime.now(UTC)
    name = " ".join(name.split())
    if not 0 < len(name) <= _MAX_NAME_CHARS or not name.isprintable():
        raise UsageError(f"NAME must have 1 to {_MAX_NAME_CHARS} printable characters")
    from receiver.console.tokens import new_token  # noqa: PLC0415

    text, digest = new_token()
    new = Token(name=name, role=role, created_at=now, expires_at=_end(now, expires))
    kept = asyncio.run(_add(settings, new, digest))
    if as_json:
        print_json({**_record(kept, now), "token": text})
        return
    print_line(text)
    until = "until it is revoked" if kept.expires_at is None else f"until {shown(kept.expires_at)}"
    typer.echo(
        f"token {kept.id}, for {name}, {role}, {until}. Keep it: it is not shown again.", err=True
    )


@app.command("list")
def list_(*, home: HomeOption = HERE, as_json: JsonOption = False) -> None:
    """List the tokens, those that are over too: whose, since when, when last used.

    Example: clarihook token list
    """
    settings = load_settings(home, needs_secrets=False)
    now = datetime.now(UTC)
    found = asyncio.run(_list(settings))
    records = [_record(each, now) for each in found]
    if as_json:
        print_json({"tokens": records})
    elif not found:
        print_line("there is none; make one: clarihook token create NAME")
    else:
        print_table(
            ("id", "name", "role", "state", "created", "expires", "last used"),
            [
                (each.id, each.name, each.role, record["state"], shown(each.created_at),
                 shown(each.expires_at), shown(each.used_at))
                for each, record in zip(found, records, strict=True)
            ],
        )  # fmt: skip


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="ID|NAME", help="Its number or its name.")],
    *,
    home: HomeOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """End a token at once; whoever is signed in with it is signed out.

    Example: clarihook token revoke ada
    """
    settings = load_settings(home, needs_secrets=False)
    now = datetime.now(UTC)
    token, is_new = asyncio.run(_revoke(settings, which, now))
    if as_json:
        print_json({**_record(token, now), "revoked": is_new})
    elif is_new:
        print_line(f"token {token.id}, of {token.name}, opens nothing any more")
    else:
        print_line(f"token {token.id} was revoked already, at {shown(token.revoked_at)}")


def _end(now: datetime, span: str | None) -> datetime | None:
    if span is None:
        return None
    try:
        end = now + parse_duration(span)
    except (ValueError, OverflowError):
        raise UsageError(f"--expires: {span!r} is no span; write 12h, 90d") from None
    if end <= now:
        raise UsageError(f"--expires {span}: it would be over at once")
    return end


async def _add(settings: Settings, new: Token, digest: bytes) -> Token:
    async with opened(settings, "guest") as store:
        number = await store.add_token(new, digest)
        if number is None:
            raise UsageError(
                f"there is a token for {new.name} already; take another name, or end that one: "
                f"clarihook token revoke {new.name!r}"
            )
        kept = await store.find_token(number=number)
        assert kept is not None, "it was kept just now"
        return kept


async def _list(settings: Settings) -> list[Token]:
    async with opened(settings, "reader") as store:
        return await store.tokens()


async def _revoke(settings: Settings, which: str, now: datetime) -> tuple[Token, bool]:
    async with opened(settings, "guest") as store:
        found = await store.tokens()
        # A name may have been used again since: the latest is meant.
        named = [each for each in found if which in (each.name, str(each.id))]
        if not named:
            hint = name_hint(which, [each.name for each in found if each.revoked_at is None])
            raise UsageError(f"there is no token {which!r}; {hint}")
        is_new = await store.revoke_token(named[-1].id, now_ms=to_ms(now))
        token = await store.find_token(number=named[-1].id)
        assert token is not None, "tokens are kept"
        return token, is_new


def _record(token: Token, now: datetime) -> dict[str, Any]:
    state = "valid" if token.is_valid(now) else "revoked" if token.revoked_at else "expired"
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "state": state,
        **{
            name: None if moment is None else iso(moment)
            for name, moment in (
                ("created_at", token.created_at),
                ("expires_at", token.expires_at),
                ("used_at", token.used_at),
                ("revoked_at", token.revoked_at),
            )
        },
    }
