"""Jinja as message templates get it: no way out, no endless work, and every value is data.

One environment for each format. In all of them an expression's value is first made a text
(`finalize`), then escaped for the format. Jinja escapes for HTML only; for Markdown its compiled
templates are given other functions of the same names.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, tzinfo
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import BaseLoader, StrictUndefined, Template, Undefined, nodes, pass_context
from jinja2.filters import FILTERS
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from receiver.model import MessageFormat
from receiver.templates import budget, filters, markup

MAX_VALUE_CHARS = 4_000
"""Of one value; what is longer ends in a dot-dot-dot."""

# Of Jinja's own filters those that can neither make markup of a value nor make much of little.
_KEPT_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "groupby",
    "int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject",
    "rejectattr", "reverse", "select", "selectattr", "sort", "string", "sum", "title", "trim",
    "unique", "upper", "wordcount",
)  # fmt: skip
_TEXT_METHODS = (
    "upper", "lower", "title", "capitalize", "strip", "lstrip", "rstrip", "startswith",
    "endswith", "removeprefix", "removesuffix", "split", "splitlines", "partition", "isdigit",
)  # fmt: skip
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_TEXT_METHODS),
    Mapping: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    int: frozenset(),
    float: frozenset({"is_integer"}),
    bytes: frozenset(),
}


class _Template(Template):
    """A compiled template whose own functions are the bounded ones, and those of its format."""

    @classmethod
    def from_code(
        cls,
        environment: Any,
        code: Any,
        globals: Any,  # noqa: A002 - Jinja's word
        uptodate: Any = None,
    ) -> "Template":
        template = super().from_code(environment, code, globals, uptodate)
        namespace = template.root_render_func.__globals__
        namespace["str_join"] = budget.join
        if environment.format == "markdown":
            namespace.update(
                escape=markup.escape_markdown,
                Markup=markup.MarkdownText,
                Macro=_MarkdownMacro,
            )
        if environment.format != "text":
            namespace["markup_join"] = environment.join_markup
        return template


class _MarkdownMacro(Macro):
    def _invoke(self, arguments: list[Any], autoescape: bool) -> str:
        return markup.MarkdownText(super()._invoke(arguments, autoescape))


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox of one format."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    template_class = _Template
    concat = staticmethod(budget.join)

    def __init__(
        self, format_: MessageFormat, *, loader: BaseLoader | None = None, zone: tzinfo = UTC
    ) -> None:
        super().__init__(
            loader=loader,
            autoescape=format_ != "text",
            undefined=StrictUndefined,
            finalize=_as_text,
            trim_blocks=True,
            lstrip_blocks=True,
            cache_size=-1,
            auto_reload=False,
        )
        self.format: MessageFormat = format_
        self.globals = {"range": budget.bounded_range, "dict": dict, "namespace":
                        self.globals["namespace"]}  # fmt: skip
        self.filters = {name: FILTERS[name] for name in _KEPT_FILTERS} | _own_filters(format_, zone)

    def join_markup(self, pieces: Iterable[Any]) -> str:
        """What `~` makes of its operands: escaped, but for what is markup already."""
        escape = markup.escape_markdown if self.format == "markdown" else Markup.escape
        kind = markup.MarkdownText if self.format == "markdown" else Markup
        parts = [part if hasattr(part, "__html__") else filters.shown(part) for part in pieces]
        if not any(hasattr(part, "__html__") for part in parts):
            return budget.join(parts)
        return kind(budget.join(map(escape, parts)))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget.check_operands(operator, left, right)
        if operator == "+" and (hasattr(left, "__html__") or hasattr(right, "__html__")):
            return self.join_markup([left, right])
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        budget.spend()
        return super().call(__context, __obj, *args, **kwargs)

    def get_template(self, name: Any, parent: Any = None, globals: Any = None) -> Template:  # noqa: A002
        budget.spend()
        return super().get_template(name, parent, globals)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        for kind, methods in _METHODS.items():
            if isinstance(obj, kind):
                return attr in methods
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """No `.format` of texts: its widths are unbounded. So it is left to `is_safe_attribute`."""

    def references(self, source: str) -> Iterator[tuple[int, str]]:
        """The files that a template includes, imports or extends by name, with their lines."""
        for node in self.parse(source).find_all((nodes.Include, nodes.Import, nodes.FromImport,
                                                 nodes.Extends)):  # fmt: skip
            other = getattr(node, "template", None)
            if isinstance(other, nodes.Const):
                yield node.lineno, str(other.value)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """As Jinja parses it, but that each round of a loop takes a step of the budget."""
        tree = super()._parse(source, name, filename)
        for loop in tree.find_all(nodes.For):
            loop.iter = nodes.Filter(loop.iter, "_each", [], [], None, None, lineno=loop.lineno)
        return tree


@pass_context
def _as_text(_context: Context, value: Any) -> Any:
    """What an expression's value is before it is escaped: a text of bounded length."""
    # With the context, although it needs none: so Jinja leaves constants to the rendering.
    if hasattr(value, "__html__"):
        return value
    if isinstance(value, Undefined):
        return str(value)  # raises what is missing, by its name
    return filters.truncate(markup.drop_controls(filters.shown(value)), MAX_VALUE_CHARS)


def _own_filters(format_: MessageFormat, zone: tzinfo) -> dict[str, Callable[..., Any]]:
    """The filters of ours, as templates name them."""

    def datetime(value: Any, pattern: str = "%Y-%m-%d %H:%M %Z", tz: str | None = None) -> str:
        return filters.when(value, zone if tz is None else ZoneInfo(tz), pattern)

    @pass_context
    def ago(context: Context, value: Any) -> str:
        now: Any = context.resolve("now")
        return filters.ago(value, now)

    def join(items: Iterable[Any], separator: str = ", ", attribute: str | None = None) -> str:
        parts = (each.get(attribute) if attribute else each for each in items)
        return budget.join(_between([filters.shown(part) for part in parts], separator))

    def replace(value: Any, old: str, new: str) -> str:
        text = filters.shown(value)
        if len(text) + text.count(old) * len(new) > budget.MAX_CHARS:
            raise budget.TooMuch(f"a text of more than {budget.MAX_CHARS} characters")
        return text.replace(old, new)

    escapes: dict[MessageFormat, Callable[[Any], str]] = {
        "text": str,
        "markdown": markup.escape_markdown,
        "html": Markup.escape,
    }
    escape = escapes[format_]
    return {
        "_each": budget.each,
        "ago": ago,
        "block": partial(markup.block, format_),
        "bytes": filters.size,
        "code": partial(markup.code, format_),
        "datetime": datetime,
        "duration": filters.duration,
        "e": escape,
        "escape": escape,
        "facts": filters.facts,
        "join": join,
        "link": partial(markup.link, format_),
        "number": filters.number,
        "percent": filters.percent,
        "pick": filters.pick,
        "plural": filters.plural,
        "replace": replace,
        "truncate": filters.truncate,
    }


def _between(parts: list[str], separator: str) -> Iterable[str]:
    for index, part in enumerate(parts):
        if index:
            yield separator
        yield part
