"""What a template can't do: get out, go on for ever, or make much of little."""

import re
from pathlib import Path
from typing import Any

import pytest

from receiver.model import Severity
from receiver.templates.budget import MAX_CHARS
from receiver.templates.library import Rendered, Templates
from receiver.testing.events import make_event

DOUBLING = """
{% set ns = namespace(t=1) %}
{% for i in range(99) %}{% set ns.t = ns.t * ns.t %}{% endfor %}
"""
EVENT = make_event("shop.sold", {"text": "a" * 1_000, "n": 10**9, "deep": [[1, 2]] * 3})


def render(folder: Path, source: str, suffix: str = "txt", **more: Any) -> Rendered:
    """What a template of this one file makes of EVENT."""
    if suffix != "txt":
        (folder / "x.txt").write_text("text")
    (folder / f"x.{suffix}").write_text(source)
    return Templates(folder).render("x", EVENT, Severity.INFO, more)


@pytest.mark.parametrize(
    "endless",
    [
        "{% for a in range(5000) %}{% for b in range(5000) %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(40) }}",
        "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% include 'x.txt' %}",
        "{{ range(1000000000)|list|length }}",
        "{{ 'a' * data.n }}",
        "{{ [1] * data.n }}",
        "{{ 10 ** 10 ** 10 }}",
        DOUBLING.replace("=1", "='ab'").replace("*", "~"),
        DOUBLING.replace("=1", "='ab'").replace("*", "+"),
        DOUBLING.replace("=1", "=[1]").replace("*", "+"),
        DOUBLING.replace("=1", "=99"),
        "{% set t %}{% for i in range(2000) %}{{ data.text }}{% endfor %}{% endset %}",
        "{{ '%1000000000d' % 1 }}",
        "{{ data.text|replace('a', data.text) }}",
        "{{ [data.text] | map('replace', 'a', data.text) | list }}",
    ],
)
def test_endless_work_is_ended_and_told(tmp_path: Path, endless: str) -> None:
    title, bodies, notes = render(tmp_path, endless)
    assert (title, bodies) == ("", {})
    assert len(notes) == 1
    assert notes[0].startswith("template x.txt")


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    """Not refused: each target cuts it anyway, at its own limit and with a notice."""
    long = "{% for i in range(5000) %}{{ data.text }}{% endfor %}"
    assert len(render(tmp_path, long).bodies["text"]) == MAX_CHARS


@pytest.mark.parametrize(
    "escape",
    [
        "{{ ''.__class__ }}",
        "{{ event.__class__.__mro__ }}",
        "{{ range.__globals__ }}",
        "{{ data.update({'a': 1}) }}",
        "{{ 'x'.format() }}",
        "{{ 'x'.center(9) }}",
        "{{ ''.join([]) }}",
        "{{ cycler.__init__ }}",
        "{% include '../clarihook.toml' %}",
        "{% include '/etc/passwd' %}",
        "{{ lipsum() }}",
        "{{ received_at.strftime.__self__ }}",
        "{{ missing.deep }}",
    ],
)
@pytest.mark.parametrize("suffix", ["txt", "md", "html"])
def test_there_is_no_way_out(tmp_path: Path, escape: str, suffix: str) -> None:
    try:
        _, bodies, notes = render(tmp_path, escape, suffix)
    except Exception as error:
        assert "there is no template file" in str(error)  # noqa: PT017
    else:
        assert len(notes) == 1
        assert bodies == ({} if suffix == "txt" else {"text": "text"})


@pytest.mark.parametrize("name", ["safe", "urlize", "xmlattr", "format", "center", "attr"])
def test_filters_that_make_markup_or_much_of_little_are_not_there(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(Exception, match=f"No filter named '{name}'"):
        render(tmp_path, f"{{{{ data.text|{name} }}}}")


HOSTILE = "[x](http://evil.example) <script> **b**"


@pytest.mark.parametrize(
    "expression",
    [
        "{{ v }}",
        "{{ 'a ' ~ v }}",
        "{{ ('a'|code) ~ v }}",
        "{{ ('a'|code) + v }}",
        "{{ [v, 'a'|code]|join(' ') }}",
        "{{ v|upper }}",
        "{{ v|default('x') }}",
        "{{ v|truncate(500) }}",
        "{{ v|link('https://ours.example') }}",
        "{{ 'ours'|link(v) }}",
        "{{ v|link(v) }}",
        "{{ v|e }}",
        "{{ [v] }}",
        "{{ {'k': v} }}",
        "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(v) }}{{ m(v) ~ v }}{{ m(v) + v }}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ v }}{% endcall %}",
        "{% set s %}{{ v }}{% endset %}{{ s }}{{ s ~ v }}",
        "{% filter upper %}{{ v }}{% endfilter %}",
        "{% for x in [v] %}{{ x }}{{ loop.index ~ x }}{% endfor %}",
        "{{ v if v else v }}",
        "{{ v|facts }}",
        "{{ (v|code).upper() }}",
        "{{ v|replace('x', '<b>') }}",
        "{{ [v]|map('upper')|first }}",
    ],
)
@pytest.mark.parametrize("suffix", ["md", "html"])
def test_a_value_is_data_wherever_it_goes(tmp_path: Path, suffix: str, expression: str) -> None:
    made = render(tmp_path, expression, suffix, v=HOSTILE)
    assert made.notes == ()
    body = next(body for format_, body in made.bodies.items() if format_ != "text").lower()
    if suffix == "html":
        assert "<script" not in body
        assert "<b>" not in body
    else:
        body = re.sub("`[^`]*`", "", body)  # what is in there is shown as it is
        assert "](http://evil" not in body.replace("\\](", "")
        assert " <script" not in body
