"""The cases that every scheme has: each is a request and the verdict that it must get."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from signature_senders import EVENT, NOW, Headers, Sender


@dataclass(frozen=True)
class Case:
    """One line of the file; `reason` None is the verdict `verified`."""

    name: str
    sender: Sender
    headers: Headers
    body: bytes = EVENT
    now: float = NOW
    reason: str | None = None
    secret_index: int = 0
    secrets: tuple[str, ...] = ()
    message_id: bytes | None = None
    scheme: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        verified = self.reason is None
        sent_id = self.sender.message_id if self.message_id is None else self.message_id
        try:
            body = {"body": self.body.decode()}
        except UnicodeDecodeError:
            body = {"body_base64": base64.b64encode(self.body).decode()}
        return {
            "name": f"{self.sender.name}: {self.name}",
            "scheme": self.sender.scheme | self.scheme,
            "secrets": list(self.secrets or self.sender.secrets),
            "headers": [[name, value.decode("latin-1")] for name, value in self.headers],
            **body,
            "now": self.now,
            "verdict": "verified" if verified else "refused",
            "reason": self.reason,
            "secret_index": self.secret_index if verified else None,
            "message_id": (sent_id.decode() or None) if verified else None,
        }


def signature_header(sender: Sender) -> str:
    """The name of the header with the signature."""
    genuine, other = sender.request(key=0), sender.request(key=1)
    return next(one[0] for one, two in zip(genuine, other, strict=True) if one != two)


def changed(headers: Headers, name: str, change: Callable[[bytes], bytes]) -> Headers:
    return [(n, change(value) if n == name else value) for n, value in headers]


def common(sender: Sender) -> Iterator[Case]:
    """What holds in every scheme."""
    genuine, header = sender.request(), signature_header(sender)
    value = dict(genuine)[header]
    other_value = dict(sender.request(key=1))[header]
    around = [("Host", b"hooks.example"), ("X-Twice", b"1"), ("X-Twice", b"\xff")]
    yield Case("genuine", sender, genuine)
    yield Case("among other headers, some repeated", sender, [*around, *genuine, *around])
    yield Case("header names in upper case", sender, [(n.upper(), v) for n, v in genuine])
    yield Case("by the older of two secrets", sender, sender.request(key=1), secret_index=1)
    for name, body in (
        ("empty body", b""), ("binary body", b"\xff\x00\xfe%s%(body)b"),
        ("UTF-8 body", '{"event":"ß→🎉"}'.encode()), ("body with line breaks", b'{\r\n"a": 1}\n'),
    ):  # fmt: skip
        yield Case(name, sender, sender.request(body), body)
    yield Case(
        "one byte of the body changed",
        sender,
        genuine,
        EVENT.replace(b"45", b"46"),
        reason="mismatch",
    )
    yield Case("line break added to the body", sender, genuine, EVENT + b"\n", reason="mismatch")
    yield Case("body dropped", sender, genuine, b"", reason="mismatch")
    yield Case(
        "by a secret that is gone", sender, sender.request(key=1), reason="mismatch",
        secrets=sender.secrets[:1],
    )  # fmt: skip
    for name, _ in genuine:
        read = name not in ("X-GitHub-Event", "X-Shopify-Topic")
        rest = [(n, v) for n, v in genuine if n != name]
        if name != "X-GitHub-Delivery" and read:
            yield Case(f"without {name}", sender, rest, reason="missing")
        if read:
            twice = [*genuine, (name, dict(genuine)[name])]
            yield Case(f"{name} twice, the same", sender, twice, reason="ambiguous")
            yield Case(
                f"{name} twice, one empty", sender, [(name, b""), *genuine], reason="ambiguous"
            )
    yield Case("no headers", sender, [], reason="missing")
    both = [*genuine, (header, other_value)]
    yield Case("two genuine signature headers", sender, both, reason="ambiguous")
    yield from damaged(sender, genuine, header, value)


def damaged(sender: Sender, genuine: Headers, header: str, value: bytes) -> Iterator[Case]:
    """The signature header in shapes that are not the scheme's."""
    for name, damage, reason in (
        ("cut by one byte", lambda v: v[:-1], "malformed"),
        ("cut to half", lambda v: v[: len(v) - 20], "malformed"),
        ("longer by one byte", lambda v: v + b"0", "malformed"),
        ("with a line break at its end", lambda v: v + b"\n", "malformed"),
        ("with NUL at its end", lambda v: v + b"\x00", "malformed"),
        ("with a byte that is not ASCII", lambda v: v[:-6] + b"\xe9" + v[-5:], "malformed"),
        ("with a space inside", lambda v: v[:-6] + b" " + v[-5:], "malformed"),
        ("changed in one place", _flip, "mismatch"),
        ("only a comma", lambda _: b",", "malformed"),
        ("empty", lambda _: b"", "malformed"),
        ("of 255s", lambda _: b"\xff" * 200, "malformed"),
    ):  # fmt: skip
        broken = changed(genuine, header, damage)
        assert dict(broken)[header] != value
        yield Case(f"signature {name}", sender, broken, reason=reason)


def _flip(value: bytes) -> bytes:
    """Another hex digit, or base64 letter, in one place."""
    return value[:-9] + (b"1" if value[-9:-8] == b"0" else b"0") + value[-8:]


def timed(sender: Sender) -> Iterator[Case]:
    """What holds where the timestamp is signed. The tolerance is 300 s unless a case says so."""
    genuine = sender.request()
    yield Case("300 s old", sender, genuine, now=NOW + 300)
    yield Case("301 s old", sender, genuine, now=NOW + 301, reason="too_old")
    yield Case("300 s ahead", sender, genuine, now=NOW - 300)
    yield Case("300.5 s ahead", sender, genuine, now=NOW - 300.5, reason="too_new")
    yield Case("a year old", sender, genuine, now=NOW + 31_536_000, reason="too_old")
    yield Case("11 s old, 10 s allowed", sender, genuine, now=NOW + 11, reason="too_old",
               scheme={"tolerance_seconds": 10})  # fmt: skip
    later = sender.timestamp.replace(b"20Z", b"21Z")
    if later.isdigit():
        later = str(int(later) + 1).encode()
    signature = sender.sign(0, EVENT, sender.timestamp, sender.message_id)
    swapped = sender.place(signature, later, sender.message_id)
    yield Case("timestamp made one younger", sender, swapped, reason="mismatch")
    for text in sender.bad_timestamps:
        shown = text.decode("latin-1") if len(text) < 40 else f"{len(text)} digits"
        yield Case(
            f"timestamp {shown!a}",
            sender,
            sender.request(timestamp=text),
            reason="timestamp_malformed",
        )


def beside(sender: Sender) -> Iterator[Case]:
    """Junk beside a valid signature, before it and after it."""
    header = signature_header(sender)
    genuine = sender.request()
    for junk in sender.decoys:
        shown = junk.decode("latin-1")[:12]
        for name, change in (
            ("before", lambda v, j=junk: j + sender.separator + v),
            ("after", lambda v, j=junk: v + sender.separator + j),
        ):
            yield Case(
                f"junk {shown!a} {name} the signature", sender, changed(genuine, header, change)
            )
    full = changed(genuine, header, lambda v: v + (sender.separator + b"x") * 40)
    yield Case("more than 32 entries", sender, full, reason="malformed")
