"""What is kept of refused requests: which, how much, and nothing if so set."""

import contextlib
import time
from pathlib import Path

from ingress_server import EVENT, Served, claribi_source, request, served

COLUMNS = "status, reason, length(body), body_bytes"


def kept(server: Served) -> list[tuple[object, ...]]:
    return server.query(f"SELECT {COLUMNS} FROM rejections ORDER BY id")


def test_what_is_refused_for_its_size_its_slowness_and_its_rate_is_kept_too(
    tmp_path: Path,
) -> None:
    with served(
        tmp_path,
        sources={"claribi": claribi_source(rate="1/h")},
        server={"max_body_bytes": 100, "read_timeout": "200ms"},
    ) as server:
        assert server.post(b"x" * 101).status_code == 413
        with server.connect() as wire:
            wire.send(request(b"{", [], length=50))
            reply = wire.read()
            assert reply is not None
            assert reply.status == 408
        assert [server.post(EVENT + b" " * n).status_code for n in (0, 1)] == [202, 429]
        rows = kept(server)
    assert rows == [
        (413, "The body is larger than 100 bytes.", 0, 101),
        (408, "The body did not arrive within 0.2 seconds.", 0, 50),
        (429, "more requests than the source's rate", len(EVENT) + 1, len(EVENT) + 1),
    ]


def test_no_credential_is_kept_and_the_signature_is(tmp_path: Path) -> None:
    secret = "a-credential-that-nobody-may-see"
    names = ["authorization", "cookie", "x-api-key", "proxy-authorization", "x-auth-token",
             "x-client-secret", "x-password"]  # fmt: skip
    with served(tmp_path) as server:
        pairs = [(name, secret) for name in names]
        pairs += [("x-claribi-signature", "t=1,v1=00"), ("x-plain", "as it is")]
        assert server.post(EVENT, headers=pairs).status_code == 401
        ((headers,),) = server.query("SELECT headers FROM rejections")
    assert secret not in headers
    assert headers.count("(masked)") == len(names)
    assert "x-claribi-signature: t=1,v1=00" in headers
    assert "x-plain: as it is" in headers


def test_the_settings_bound_number_and_size(tmp_path: Path) -> None:
    rejections = {"max_count": 3, "max_body_bytes": 10}
    with served(tmp_path, rejections=rejections) as server:
        for number in range(6):
            assert server.post(b"%d" % number * 20, headers=[]).status_code == 401
            assert server.post(b"{" * (20 + number)).status_code == 400
        rows = kept(server)
    assert [row[2:] for row in rows if row[0] == 401] == [(10, 20)] * 3
    # What is signed is kept whole: its sender may not send it again.
    assert [row[2:] for row in rows if row[0] == 400] == [(n, n) for n in (23, 24, 25)]


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    with served(tmp_path, rejections={"enabled": False}) as server:
        assert server.post(b"x", headers=[]).status_code == 401
        assert server.post(b"{").status_code == 400
        assert server.post().status_code == 202
        assert server.count("rejections") == 0


def test_a_flood_costs_bounded_room_and_honest_senders_are_served(tmp_path: Path) -> None:
    """Some thousand forged requests on four connections; one honest sender beside them."""
    with served(tmp_path, rejections={"max_count": 10}) as server, contextlib.ExitStack() as stack:
        forged = request(b"x" * 2000, [("x-claribi-signature", "t=1,v1=00")])
        wires = [stack.enter_context(server.connect()) for _ in range(4)]
        begun = time.monotonic()
        for number in range(100):
            for wire in wires:
                wire.send(forged * 10)
            assert server.post(EVENT + b" " * number).status_code == 202
            for wire in wires:
                statuses = {wire.read().status for _ in range(10)}  # type: ignore[union-attr]
                assert statuses == {401}
        seconds = time.monotonic() - begun
        written = server.query("SELECT max(id) FROM rejections")[0][0]
        assert server.count("events") == 100
        assert server.count("rejections") == 10
    assert written <= 21 + seconds, "few are even written"
