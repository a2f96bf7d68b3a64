"""How requests prove who sends them: an API key, a fixed token, or a JWT session.

The reference does not show the headers. `X-API-Key` is what the vendor's quick start says;
`Authorization: Bearer` is its form for a JWT. Other styles of its other pages are a setting.
"""

from typing import NamedTuple, Protocol

from claribi.errors import ApiStatusError, ConfigurationError
from claribi.models import MfaChallenge, TokenPair


class AuthHeader(NamedTuple):
    """A header that holds a credential; shown without it, in a traceback's locals too."""

    name: str
    """In lower case."""
    value: str

    def __repr__(self) -> str:
        return f"AuthHeader({self.name!r})"


class TokenApi(Protocol):
    """What a session asks the server for; none of these calls is authenticated."""

    async def login(self, email: str, password: str) -> TokenPair | MfaChallenge:
        """`POST auth/login/`."""

    async def complete_mfa(self, challenge: MfaChallenge, code: str) -> TokenPair:
        """Hand in the TOTP code that a challenge asks for."""

    async def refresh(self, refresh: str) -> TokenPair:
        """`POST auth/token/refresh/`."""


class Auth(Protocol):
    """Credentials of a client."""

    async def prepare(self) -> None:
        """Make the header usable: log in, or renew what is about to expire."""

    def header(self) -> AuthHeader | None:
        """What to send; None sends none."""

    def may_renew(self, error: ApiStatusError, used: AuthHeader | None) -> bool:
        """Whether a request refused with a 401 may succeed with new credentials."""

    async def renew(self, used: AuthHeader | None) -> None:
        """Get new credentials, unless `used` are no longer the current ones."""


class FixedHeader:
    """Credentials that never change, or none at all. `repr` shows the header's name only."""

    def __init__(self, header: AuthHeader | None) -> None:
        self._header = checked_header(header) if header is not None else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._header!r})"

    async def prepare(self) -> None:
        """Nothing to do."""

    def header(self) -> AuthHeader | None:
        """See `Auth`."""
        return self._header

    def may_renew(self, *_refused: object) -> bool:
        """Never: a refused key stays refused."""
        return False

    async def renew(self, *_used: object) -> None:
        """Nothing to do."""


class ApiKey(FixedHeader):
    """An API key. `style` is `x-api-key`, `api-key` (`Authorization: Api-Key …`), `bearer`, or
    `header:NAME` for a header of one's own.
    """

    def __init__(self, key: str, *, style: str = "x-api-key") -> None:
        key = key.strip()
        if not key:
            raise ConfigurationError("api_key is empty")
        super().__init__(_key_header(key, style))


class StaticBearer(FixedHeader):
    """A bearer token that somebody else keeps alive."""

    def __init__(self, token: str) -> None:
        super().__init__(bearer(token.strip()))


class Anonymous(FixedHeader):
    """No credentials: enough for `auth.login` and `auth.refresh`."""

    def __init__(self) -> None:
        super().__init__(None)


def bearer(token: str) -> AuthHeader:
    """`Authorization: Bearer …`."""
    return AuthHeader("authorization", f"Bearer {token}")


def checked_header(header: AuthHeader) -> AuthHeader:
    """The header, if it can be sent; raises ConfigurationError, which never quotes the value."""
    name = header.name.lower()
    if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigurationError(f"{name!r} is no header name")
    if not header.value.isascii() or not header.value.isprintable():
        raise ConfigurationError(f"the credential for {name} has characters that can't be sent")
    return AuthHeader(name, header.value)


def _key_header(key: str, style: str) -> AuthHeader:
    if style.lower().startswith("header:"):
        return AuthHeader(style[len("header:") :].strip(), key)
    styles = {
        "x-api-key": AuthHeader("x-api-key", key),
        "api-key": AuthHeader("authorization", f"Api-Key {key}"),
        "bearer": bearer(key),
    }
    if style.lower() not in styles:
        raise ConfigurationError(
            f"api_key_style {style!r}: use one of {', '.join(styles)}, or header:NAME"
        )
    return styles[style.lower()]
