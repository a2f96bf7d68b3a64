"""The gate: who a visitor is, and how they get in and out."""

import hmac
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from receiver.console import sessions
from receiver.console.tokens import digest_of
from receiver.errors import StoreError
from receiver.model import Role, Token, to_ms
from receiver.rate import Pace, Rate

if TYPE_CHECKING:
    from receiver.console.app import Deployment

log = structlog.get_logger("receiver.console")

COOKIE: Final = "clarihook"
FORM_FIELD: Final = "form_token"
TRIES: Final = Rate(10, 900.0, burst=10)
"""Wrong tokens from one address."""
_MAX_ADDRESSES: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """Whoever sent a request. Without a token: a stranger."""

    token: Token | None = None
    form_token: str = ""
    """For the forms of the pages that they get."""

    def may(self, role: Role) -> bool:
        """Whether their token gives that role, or more."""
        if self.token is None:
            return False
        return self.token.role is Role.OPERATOR or self.token.role is role

    def sent(self, form: dict[str, str]) -> bool:
        """Whether a form was on a page that they were given."""
        given = form.get(FORM_FIELD, "").encode("utf-8", "replace")
        return bool(self.form_token) and hmac.compare_digest(self.form_token.encode(), given)


class Gate:
    """Knows visitors by their cookies."""

    def __init__(self, deployment: "Deployment") -> None:
        self._deployment = deployment
        self._tries: OrderedDict[str, Pace] = OrderedDict()

    async def visitor(self, request: Request) -> Visitor:
        """Who it is: a stranger, unless the cookie is ours and its token still good."""
        key = self._key()
        cookie = request.cookies.get(self._cookie_name(request), "")
        session = sessions.read(key, cookie, now_seconds=time.time())
        if session is None:
            return Visitor()
        token = await self._deployment.store.find_token(number=session.token_id)
        if token is None or not token.is_valid(datetime.now(UTC)):
            return Visitor()
        return Visitor(token=token, form_token=sessions.form_token(key, session))

    async def sign_in(self, request: Request, text: str, response: Response) -> bool:
        """Give the response a session's cookie if the token is good; whether it is."""
        digest = digest_of(text)
        store = self._deployment.store
        token = None if digest is None else await store.find_token(digest=digest)
        now = datetime.now(UTC)
        if token is None or not token.is_valid(now):
            return False
        try:
            await store.use_token(token.id, now_ms=to_ms(now))
        except StoreError as error:  # full or locked: looking must be possible all the more
            log.warning("console.sign_in_not_noted", error=str(error))
        session = sessions.begin(self._key(), token.id, now_seconds=now.timestamp())
        response.set_cookie(
            self._cookie_name(request),
            session.cookie,
            max_age=sessions.SESSION_SECONDS,
            path="/",
            secure=self._is_secure(),
            httponly=True,
            samesite="strict",
        )
        log.info("console.signed_in", name=token.name, address=_address(request))
        return True

    def sign_out(self, request: Request, response: Response) -> None:
        """Take the cookie away."""
        response.delete_cookie(
            self._cookie_name(request),
            path="/",
            secure=self._is_secure(),
            httponly=True,
            samesite="strict",
        )

    def count_try(self, request: Request) -> float:
        """Count a wrong token; how long that address has to wait by now, 0 if it need not."""
        address = _address(request)
        pace = self._tries.pop(address, None) or Pace(TRIES)
        self._tries[address] = pace
        if len(self._tries) > _MAX_ADDRESSES:
            self._tries.popitem(last=False)
        wait_seconds = pace.take(time.monotonic())
        log.warning("console.refused", address=address, again_in_seconds=round(wait_seconds))
        return wait_seconds

    def _key(self) -> bytes:
        key = self._deployment.key
        if key is None:
            raise HTTPException(503, "The server is just starting; try again in a moment.")
        return key

    def _is_secure(self) -> bool:
        return urlsplit(self._deployment.settings.console.public_url or "").scheme == "https"

    def _cookie_name(self, request: Request) -> str:
        # A cookie of that prefix can't be set by another host or over plain HTTP (RFC 6265bis).
        # Without it all ports of a host share its cookies: another console must not sign us out.
        if self._is_secure():
            return f"__Host-{COOKIE}"
        return f"{COOKIE}_{(request.scope.get('server') or ('', 0))[1]}"


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
