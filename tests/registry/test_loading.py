"""Finding handler files and plugins, and what happens when one is broken."""

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from receiver.errors import HandlerLoadError
from receiver.registry import Registry, load_handlers

Load = Callable[..., Registry]
Write = Callable[..., Path]

GOOD = """
    from receiver import on

    @on("a")
    def take(event): ...
    """


def names(registry: Registry) -> list[str]:
    return [handler.name for handler in registry.handlers]


def test_files_are_loaded_in_order_without_the_private_ones(load: Load) -> None:
    registry = load(b=GOOD, a=GOOD, _shared="raise RuntimeError")
    assert names(registry) == ["a.take", "b.take"]


def test_a_handler_knows_its_file_and_line(load: Load) -> None:
    (handler,) = load(a=GOOD).handlers
    assert Path(handler.file).name == "a.py"
    assert handler.line == 4


def test_loading_twice_registers_once_and_sees_edits(write: Write) -> None:
    folder = write(a=GOOD)
    assert names(load_handlers([folder])) == ["a.take"]
    assert names(load_handlers([folder])) == ["a.take"]
    write(a=GOOD.replace("take", "talk"))
    assert names(load_handlers([folder])) == ["a.talk"]
    assert not (folder / "__pycache__").exists()


def test_files_of_one_name_in_two_folders_do_not_meet(write: Write, tmp_path: Path) -> None:
    write(json=GOOD)
    other = tmp_path / "more"
    other.mkdir()
    (other / "json.py").write_text("from receiver import on\n\n@on('b')\ndef talk(event): ...\n")
    registry = load_handlers([tmp_path / "handlers", other])
    assert names(registry) == ["json.take", "json.talk"]
    assert "json" not in sys.modules or "handlers" not in str(sys.modules["json"])


def test_handler_files_can_share_helpers_by_relative_import(load: Load) -> None:
    registry = load(
        _words="GREETING = 'hello'",
        a="""
            from receiver import on
            from ._words import GREETING
            from .b import take

            @on("x")
            def greet(event): return GREETING
            """,
        b=GOOD,
    )
    assert names(registry) == ["a.greet", "b.take"]
    assert registry.handlers[0].func({}) == "hello"


def test_a_path_may_be_one_file(write: Write) -> None:
    folder = write(a=GOOD, b=GOOD)
    assert names(load_handlers([folder / "b.py"])) == ["b.take"]


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(HandlerLoadError, match="no such folder; `clarihook init` makes one"):
        load_handlers([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import nothing_like_this", "No module named 'nothing_like_this'"),
        ("def broken(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("x = '\udcff'", "SyntaxError"),
    ],
)
def test_a_broken_file_stops_the_load_with_path_and_traceback(
    write: Write, source: str, text: str
) -> None:
    folder = write()
    (folder / "bad.py").write_bytes(source.encode("utf-8", "surrogateescape"))
    with pytest.raises(HandlerLoadError) as caught:
        load_handlers([folder])
    assert f"{folder / 'bad.py'} failed to load:" in str(caught.value)
    assert text in str(caught.value)
    assert "registry/load.py" not in str(caught.value)


def test_with_skip_a_broken_file_is_a_problem_and_the_others_load(write: Write) -> None:
    folder = write(a=GOOD, bad="raise RuntimeError('no')", c=GOOD)
    registry = load_handlers([folder], on_error="skip")
    assert names(registry) == ["a.take", "c.take"]
    (problem,) = registry.problems
    assert problem.file == str(folder / "bad.py")
    assert "RuntimeError: no" in problem.text
    assert registry.problem_of("bad.anything") is problem
    assert registry.problem_of("a.take") is None


def test_one_bad_decorator_is_named_by_its_line(write: Write) -> None:
    folder = write(bad=GOOD + '\n    @on("b", timeout="soon")\n    def more(event): ...\n')
    with pytest.raises(HandlerLoadError, match=r"bad\.py:7: @on: timeout = 'soon'"):
        load_handlers([folder])


def test_a_function_that_hides_another_is_refused(write: Write) -> None:
    folder = write(a=GOOD + '\n    @on("b")\n    def take(event): ...\n')
    with pytest.raises(
        HandlerLoadError, match=r"a\.py:7: the name 'a\.take' is taken by .*a\.py:4"
    ):
        load_handlers([folder])


def test_two_files_with_one_name_for_a_handler_are_refused(write: Write) -> None:
    named = GOOD.replace('"a"', '"a", name="same"')
    with pytest.raises(HandlerLoadError, match="the name 'same' is taken by"):
        load_handlers([write(a=named, b=named)])


def test_one_function_may_be_registered_twice_under_two_names(load: Load) -> None:
    registry = load(
        a="""
            from receiver import on

            @on("a", attempts=1)
            @on("b", name="slow", attempts=9)
            def take(event): ...
            """
    )
    assert names(registry) == ["slow", "a.take"]


def test_a_wrapping_decorator_below_is_kept(load: Load) -> None:
    registry = load(
        _wrap="""
            def loud(func):
                def wrapper(event): return func(event).upper()
                return wrapper
            """,
        a="""
            from receiver import on
            from ._wrap import loud

            @on("a", name="a.take")
            @loud
            def take(event): return "taken"
            """,
    )
    assert registry.handlers[0].func({}) == "TAKEN"


def test_a_file_name_that_is_no_name_asks_for_one(write: Write) -> None:
    folder = write()
    (folder / "my file.py").write_text("from receiver import on\n\n@on('a')\ndef f(event): ...\n")
    with pytest.raises(HandlerLoadError, match="can't be a handler's name"):
        load_handlers([folder])


def test_disabled_handlers_are_left_out_and_unknown_ones_refused(load: Load) -> None:
    registry = load(a=GOOD, b=GOOD)
    assert names(registry.without(["a.take"])) == ["b.take"]
    with pytest.raises(HandlerLoadError, match=r"no handler 'a\.tak'; did you mean 'a\.take'"):
        registry.without(["a.tak"])


def test_handlers_are_found_by_name(load: Load) -> None:
    registry = load(a=GOOD)
    assert registry.get("a.take") is registry.handlers[0]
    assert registry.get("a.nothing") is None


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable module with handlers, and its entry points; the path of the module."""
    module = tmp_path / "acme_clarihook.py"
    module.write_text("from receiver import on\n\n@on('a')\ndef alert(event): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    group = "clarihook.handlers"
    installed = EntryPoints(
        [
            EntryPoint("acme", "acme_clarihook", group),
            EntryPoint("acme-one", "acme_clarihook:alert", group),
            EntryPoint("empty", "json", group),
            EntryPoint("broken", "acme_clarihook.nothing", group),
        ]
    )
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: installed)
    monkeypatch.delitem(sys.modules, "acme_clarihook", raising=False)
    return module


@pytest.mark.usefixtures("plugin")
def test_a_plugin_is_loaded_only_when_it_is_allowed() -> None:
    assert names(load_handlers([])) == []
    assert names(load_handlers([], plugins=["acme"])) == ["acme.alert"]
    assert names(load_handlers([], plugins=["acme-one"])) == ["acme-one.alert"]


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("acne", "plugin 'acne' is not installed (installed: acme, acme-one, broken, empty)"),
        ("empty", "plugin 'empty' (json) has no function with @on"),
        ("broken", "plugin 'broken' failed to load:"),
    ],
)
def test_a_plugin_that_can_not_be_used_says_why(name: str, text: str) -> None:
    with pytest.raises(HandlerLoadError) as caught:
        load_handlers([], plugins=[name])
    assert text in str(caught.value)
    registry = load_handlers([], plugins=[name, "acme"], on_error="skip")
    assert names(registry) == ["acme.alert"]
    assert registry.problems[0].file == name
