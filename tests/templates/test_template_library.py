"""Where templates come from, what is found wrong before they are used, and what is told after."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from receiver.errors import ConfigError
from receiver.model import Event, EventId, Severity
from receiver.notify.routes import RouteTable
from receiver.settings import RouteSettings
from receiver.templates.library import Templates

EVENT = Event(
    id=EventId("evt_1"),
    seq=1,
    source="claribi",
    type="data_source.sync_failed",
    received_at=datetime(2026, 3, 1, 12, tzinfo=UTC),
    body=b'{"event": "data_source.sync_failed", "data": {"data_source_name": "Shop"}}',
)


def test_a_file_takes_the_place_of_the_shipped_one_alone(tmp_path: Path) -> None:
    (tmp_path / "data_source.sync_failed.md").write_text("_ours_: {{ data.data_source_name }}")
    templates = Templates(tmp_path)
    made = templates.render("data_source.sync_failed", EVENT, Severity.WARNING)
    assert made.bodies["markdown"] == "_ours_: Shop"
    assert made.title == "Shop failed to sync"
    assert "What broke" in made.bodies["text"]
    assert templates.is_own("data_source.sync_failed")


def test_times_are_in_the_zone_that_is_set(tmp_path: Path) -> None:
    source = '{{ received_at|datetime }} {{ received_at|datetime("%H:%M", tz="Asia/Tokyo") }}'
    (tmp_path / "x.txt").write_text(source)
    made = Templates(tmp_path, zone=ZoneInfo("Europe/Berlin")).render("x", EVENT, Severity.INFO)
    assert made.bodies["text"] == "2026-03-01 13:00 CET 21:00"


def test_the_event_is_linked_where_an_address_is_known(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text('{{ event_url or "none" }}')
    url = "https://hooks.example.com/"
    linked = Templates(tmp_path, public_url=url).render("x", EVENT, Severity.INFO)
    assert linked.bodies["text"] == "https://hooks.example.com/events/evt_1"
    assert Templates(tmp_path).render("x", EVENT, Severity.INFO).bodies["text"] == "none"


@pytest.mark.parametrize(
    ("name", "source", "told"),
    [
        ("x.txt", "one\n{% if %}", "x.txt:2: Expected an expression"),
        ("x.txt", "one\n\n{{ data|nmber }}", "x.txt:3: No filter named 'nmber'"),
        ("x.txt", "{% include '_gone.txt' %}", "x.txt:1: there is no template file '_gone.txt'"),
        ("x.md", "only chat", "there is no x.txt; write one"),
        ("x.jinja", "", "no template; they are named NAME.txt, NAME.md or NAME.html"),
        ("x.txt", "x" * 300_000, "is larger than 262144 bytes"),
    ],
)
def test_faults_are_found_with_file_and_line(
    tmp_path: Path, name: str, source: str, told: str
) -> None:
    (tmp_path / name).write_text(source)
    with pytest.raises(ConfigError) as caught:
        Templates(tmp_path)
    assert told in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("token")
    (tmp_path / "own").mkdir()
    (tmp_path / "own/x.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="leads out of"):
        Templates(tmp_path / "own")


def test_the_readme_is_no_template(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("{% nonsense")
    assert Templates(tmp_path).names == Templates().names


def test_a_fault_is_told_with_the_line_where_it_happened(tmp_path: Path) -> None:
    (tmp_path / "_part.txt").write_text("\n\n{{ 1 / data.nothing }}")
    (tmp_path / "x.txt").write_text("{% set title %}T{% endset %}\n{% include '_part.txt' %}")
    (tmp_path / "x.md").write_text("still there: {{ title }}")
    made = Templates(tmp_path).render("x", EVENT, Severity.INFO)
    assert made.notes[0].startswith("template _part.txt:3: ")
    assert "nothing" in made.notes[0]
    assert made.bodies == {"markdown": "still there:"}


def route(**settings: object) -> RouteSettings:
    return RouteSettings.model_validate({"notify": ["ops"], **settings})


def test_a_route_without_words_of_its_own_uses_the_template_of_the_type() -> None:
    (message,) = RouteTable([route()]).route(EVENT).messages
    assert message.title == "Shop failed to sync"
    assert set(message.bodies) == {"markdown", "html"}
    assert message.format == "text"


def test_a_route_may_name_a_template_and_still_have_its_title(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("the text")
    table = RouteTable([route(template="x", title="T {{ source }}")], Templates(tmp_path))
    (message,) = table.route(EVENT).messages
    assert (message.title, message.body) == ("T claribi", "the text")


def test_words_in_the_route_go_before_the_template_of_the_type() -> None:
    (message,) = RouteTable([route(body="B")]).route(EVENT).messages
    assert (message.title, message.body, message.bodies) == (EVENT.type, "B", {})


def test_a_route_with_a_template_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'data_source\.sync_failed'"):
        RouteTable([route(template="data_source.sync_faild")])


def test_a_message_goes_out_plainly_when_its_template_fails(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("{{ data.gone.deep }}")
    routed = RouteTable([route(template="x")], Templates(tmp_path)).route(EVENT)
    (message,) = routed.messages
    assert (message.title, message.body) == (EVENT.type, "data_source_name: Shop")
    assert routed.failures == routed.notes
    assert routed.notes[0].startswith("route 1: template x.txt:1: ")
