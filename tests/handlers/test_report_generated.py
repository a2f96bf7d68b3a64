from collections.abc import Callable

from receiver.testing import HandlerRun

HANDLER = "report_generated.announce"
Run = Callable[..., HandlerRun]

REPORT = {
    "id": 15, "name": "Monthly Revenue", "status": "published",
    "created_by": {"id": 1, "name": "Jane Smith"},
}  # fmt: skip


def test_name_author_and_link_are_posted(run: Run) -> None:
    api = {"GET reports/15/": REPORT}
    (message,) = run("report.generated", data={"report_id": 15}, claribi=api).messages
    assert (message.title, message.severity) == ("Report ready: Monthly Revenue", "success")
    assert message.body == "Author: Jane Smith\nLink: https://claribi.com/reports/15/"


def test_a_report_whose_author_is_gone_is_still_posted(run: Run) -> None:
    api = {"GET reports/15/": REPORT | {"created_by": None}}
    (message,) = run("report.generated", data={"id": 15}, claribi=api).messages
    assert "Author: unknown" in message.body


def test_what_the_event_knows_is_posted_when_the_report_can_not_be_fetched(run: Run) -> None:
    data = {"report_id": 15, "report_name": "Monthly Revenue"}
    (message,) = run("report.generated", data=data, claribi={}).messages
    assert message.title == "Report ready: Monthly Revenue"
    assert "Link: https://claribi.com/reports/15/" in message.body
    assert "could not be fetched: GET reports/15/: 404 not_found" in message.body


def test_an_empty_event_is_still_posted(run: Run) -> None:
    (message,) = run("report.generated", data={}).messages
    assert message.title == "Report ready: without a name"
    assert "The event does not say which report it is." in message.body
