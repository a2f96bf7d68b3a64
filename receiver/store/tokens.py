"""Tokens in the database: adding, finding, listing and revoking them."""

from collections.abc import Sequence
from typing import Any

from receiver.model import Role, Token, from_ms, to_ms
from receiver.store.driver import sqlite3
from receiver.store.queries import Queries

_Q = Queries.load("tokens.sql")


def add(db: "sqlite3.Connection", new: Token, digest: bytes) -> int | None:
    """Keep a new token by its digest; its number. None if another one has that name."""
    expires_ms = None if new.expires_at is None else to_ms(new.expires_at)
    parameters = (new.name, new.role, digest, to_ms(new.created_at), expires_ms)
    added = db.execute(_Q["add"], parameters)
    return added.lastrowid if added.rowcount == 1 else None


def revoke(db: "sqlite3.Connection", number: int, *, now_ms: int) -> bool:
    """End a token; False if it had been ended before, or there is none."""
    return db.execute(_Q["revoke"], (number, now_ms)).rowcount == 1


def use(db: "sqlite3.Connection", number: int, *, now_ms: int) -> None:
    """Note that somebody has signed in with it."""
    db.execute(_Q["use"], (number, now_ms))


def tokens(db: "sqlite3.Connection") -> list[Token]:
    """All of them, the oldest first."""
    return [_token(row) for row in db.execute(_Q["list"]).fetchall()]


def find(
    db: "sqlite3.Connection", *, number: int | None = None, digest: bytes | None = None
) -> Token | None:
    """The token of that number, or with that digest."""
    row = db.execute(_Q["find"], (number, digest)).fetchone()
    return None if row is None else _token(row)


def _token(row: Sequence[Any]) -> Token:
    number, name, role, created_ms, expires_ms, used_ms, revoked_ms = row
    return Token(
        id=number,
        name=name,
        role=Role(role),
        created_at=from_ms(created_ms),
        expires_at=None if expires_ms is None else from_ms(expires_ms),
        used_at=None if used_ms is None else from_ms(used_ms),
        revoked_at=None if revoked_ms is None else from_ms(revoked_ms),
    )
