"""The two small templates of the `hmac` family: what is signed, and how a header is a list.

Both are compiled once, when the scheme is built; a fault is a ValueError with the remedy.
"""

import re
from collections.abc import Mapping

_FIELD = re.compile(r"\{(\w*)\}", re.ASCII)
_ELEMENT = re.compile(r"([^\s=,;{}]+)=\{(\w*)\}", re.ASCII)


class SignedContent:
    """What is signed, such as `{timestamp}.{body}`, ready to be filled in.

    `fields` are the names in it; `id_separator` is what an id may not contain.
    """

    def __init__(self, template: str) -> None:
        literals, names = _FIELD.split(template)[::2], _FIELD.findall(template)
        _check_content(literals, names)
        self.fields = frozenset(names)
        self.id_separator = _id_separator(literals, names)
        pieces = [literals[0].replace("%", "%%")]
        for name, literal in zip(names, literals[1:], strict=True):
            pieces += [f"%({name})b", literal.replace("%", "%%")]
        self._format = "".join(pieces).encode()

    def fill(self, values: Mapping[bytes, bytes]) -> bytes:
        """The bytes to sign, from `{b"body": …, b"timestamp": …, b"id": …}`."""
        return self._format % values


def _check_content(literals: list[str], names: list[str]) -> None:
    for name in names:
        if name not in ("body", "timestamp", "id"):
            raise ValueError(
                f"has an unknown placeholder {{{name}}}; use {{body}}, {{timestamp}}, {{id}}"
            )
        if names.count(name) > 1:
            raise ValueError(f"has {{{name}}} more than once; write it once")
    if "body" not in names:
        raise ValueError('has no {body}, so that the body would not be signed; write "{body}"')
    if any("{" in literal or "}" in literal for literal in literals):
        raise ValueError("has a brace without its partner; write placeholders as {body}")
    if any(not literal or literal[0].isalnum() for literal in literals[1:-1]):
        raise ValueError(
            "needs a separator between placeholders, or one signature fits two requests; "
            'write for example "{timestamp}.{body}"'
        )


def _id_separator(literals: list[str], names: list[str]) -> bytes:
    """The first character after {id}. Not `-` or `_`: ids are made of these."""
    if "id" not in names:
        return b""
    following = literals[names.index("id") + 1][:1]
    return b"" if following in ("-", "_") else following.encode()


class Elements:
    """The form of a header that is a list, such as `t={timestamp},v1={signature}`."""

    def __init__(self, template: str) -> None:
        self.template = template
        separators = sorted(set(template) & set(",; "))
        if len(separators) > 1:
            raise ValueError('needs one separator: write "t={timestamp},v1={signature}"')
        separator = separators[0] if separators else ","
        names = dict(_element(text) for text in template.split(separator))
        if len(names) != template.count(separator) + 1 or "signature" not in names:
            raise ValueError("needs {signature} once, and each placeholder once")
        if len(set(names.values())) != len(names):
            raise ValueError("gives two elements the same name; name them apart")
        self.separator = separator.encode()
        self.signature_name = names["signature"]
        self.timestamp_name = names.get("timestamp")


def _element(text: str) -> tuple[str, bytes]:
    """`v1={signature}` as `("signature", b"v1")`."""
    match = _ELEMENT.fullmatch(text)
    if match is None or match[2] not in ("timestamp", "signature"):
        raise ValueError(
            f'can\'t be read at "{text}"; write for example "t={{timestamp}},v1={{signature}}"'
        )
    return match[2], match[1].encode()
