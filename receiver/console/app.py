"""The console's ASGI app: its pages, who may see each, and what every answer carries.

It listens on an address of its own, never on that of the webhooks. There is no script, and nothing
is loaded from anywhere else. No GET changes anything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Final, Protocol
from urllib.parse import quote, urlsplit

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from receiver.console.addresses import address_of, named_by
from receiver.console.forms import form_of
from receiver.console.gate import Gate, Visitor
from receiver.console.looks import Looks
from receiver.console.pages import Pages
from receiver.errors import StoreUnavailable
from receiver.forms import FormTooLarge
from receiver.model import Role
from receiver.settings import Settings
from receiver.store.base import Store

log = structlog.get_logger("receiver.console")

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",  # with none at all, browsers hide a form's origin too
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_STYLE: Final = files("receiver.console").joinpath("console.css").read_bytes()
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Deployment(Protocol):
    """What the console shows: an `Engine` is one."""

    @property
    def settings(self) -> Settings:
        """Those in force now."""

    @property
    def store(self) -> Store:
        """The opened store."""

    @property
    def key(self) -> bytes | None:
        """The deployment's own secret; None until the store is open."""


Answer = Callable[[Request, Visitor], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """A path of the console, and who may call it."""

    path: str
    method: str
    role: Role | None
    """The least that a visitor's token must give; None is for everybody."""
    answer: Answer


class Console:
    """The application."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._gate = Gate(deployment)
        self._looks = Looks()
        pages = Pages(deployment, self._looks)
        viewer, operator = Role.VIEWER, Role.OPERATOR
        self.pages: Final = (
            Page(path="/console.css", method="GET", role=None, answer=self._style),
            Page(path="/sign-in", method="GET", role=None, answer=self._sign_in_form),
            Page(path="/sign-in", method="POST", role=None, answer=self._sign_in),
            Page(path="/sign-out", method="POST", role=viewer, answer=self._sign_out),
            Page(path="/", method="GET", role=viewer, answer=pages.overview),
            Page(path="/events", method="GET", role=viewer, answer=pages.events),
            Page(path="/events/{id}", method="GET", role=viewer, answer=pages.event),
            Page(
                path="/events/{id}/acknowledge",
                method="POST",
                role=operator,
                answer=pages.acknowledge,
            ),
        )
        self._routes = [(page, compile_path(page.path)[0]) for page in self.pages]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except asyncio.CancelledError:  # at a stop that can wait no longer
            response = self._not_now("The server stops.")
        except HTTPException as error:
            status = HTTPStatus(error.status_code)
            response = self._looks.said(status, status.phrase, error.detail)
        except FormTooLarge:
            response = self._looks.said(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "That is too much", "Write less, please."
            )
        except StoreUnavailable as error:
            response = self._not_now(f"{error}.")
        except Exception:  # a request's border: the next one may do better
            log.exception("console.failed", path=scope["path"])
            response = self._looks.said(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "That did not work",
                "Nothing was changed; the server's log has the details.",
            )
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        await response(scope, receive, send)

    def _not_now(self, why: str) -> Response:
        response = self._looks.said(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "Not now",
            f"{why} Nothing was changed; try again in a moment.",
        )
        response.headers["Retry-After"] = "5"
        return response

    async def _answer(self, request: Request) -> Response:
        """Find the page. By the raw path: a Host header could rewrite `request.url`
        (CVE-2026-48710).
        """
        if not self._serves(request.headers.getlist("host")):
            return self._looks.said(
                HTTPStatus.MISDIRECTED_REQUEST,
                "Not this address",
                "The console does not go by that name. Set console.public_url to it.",
            )
        there = [
            (page, found)
            for page, pattern in self._routes
            if (found := pattern.match(request.scope["path"])) is not None
        ]
        method = "GET" if request.method == "HEAD" else request.method
        for page, found in there:
            if page.method == method:
                request.scope["path_params"] = found.groupdict()
                return await self._guarded(page, request)
        if not there:
            return self._looks.said(
                HTTPStatus.NOT_FOUND, "There is no such page", "Go back to the overview."
            )
        response = self._looks.said(
            HTTPStatus.METHOD_NOT_ALLOWED, "Not like that", "Go back to the overview."
        )
        response.headers["Allow"] = ", ".join(page.method for page, _ in there)
        return response

    async def _guarded(self, page: Page, request: Request) -> Response:
        """The page, behind everything that it asks of a visitor."""
        visitor = await self._gate.visitor(request)
        if page.role is not None and not visitor.may(page.role):
            return self._refuse(page, request, visitor)
        if page.method != "GET":
            await self._check_form(page, request, visitor)
        return await page.answer(request, visitor)

    async def _check_form(self, page: Page, request: Request, visitor: Visitor) -> None:
        """Raises HTTPException 403 for a form that is none of this console's own."""
        if not self._is_own(request):
            raise HTTPException(403, "That form came from another site. Nothing was changed.")
        # To sign in nobody needs to have been here, and one may be here in another tab.
        if page.role is not None and not visitor.sent(await form_of(request)):
            raise HTTPException(403, "That form is too old. Go back, reload, and try again.")

    def _is_own(self, request: Request) -> bool:
        """Whether a form was sent from a page of this very address, as far as the browser tells."""
        if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return False
        origin = request.headers.get("origin")
        if origin is None:
            return True
        sender = address_of(origin)
        if sender is None:
            return False
        asked = named_by(request.headers["host"], scheme=urlsplit(origin).scheme)
        public = address_of(self._deployment.settings.console.public_url or "")
        return sender in (asked, public)

    def _refuse(self, page: Page, request: Request, visitor: Visitor) -> Response:
        if visitor.token is not None:
            return self._looks.said(
                HTTPStatus.FORBIDDEN,
                "You may look, not act",
                "Your token is a viewer's. clarihook token create NAME --role operator makes one "
                "that may.",
                visitor,
            )
        if page.method != "GET":
            return self._looks.said(
                HTTPStatus.UNAUTHORIZED, "You are not signed in", "Nothing was changed."
            )
        if request.headers.get("sec-fetch-site") == "cross-site":
            # The cookie is for visits from the console alone. Behind a link in a message this page
            # asks for itself once more, and then it is one.
            return self._looks.page("again", visitor, path=_path_of(request))
        return RedirectResponse(f"/sign-in?to={quote(_path_of(request))}", HTTPStatus.SEE_OTHER)

    def _serves(self, hosts: list[str]) -> bool:
        """Whether a request may be for us. DNS rebinding brings other names (RFC 9110, 7.4)."""
        asked = named_by(hosts[0]) if len(hosts) == 1 else None
        if asked is None:
            return False
        console = self._deployment.settings.console
        own = {console.host.lower()} - {"0.0.0.0", "::"}  # noqa: S104 - names no host
        public = address_of(console.public_url or "")
        if public is not None:
            own.add(public.host)
        return asked.host in _LOOPBACK | own

    # -- signing in and out -------------------------------------------------------------------

    async def _style(self, _request: Request, _visitor: Visitor) -> Response:
        return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})

    async def _sign_in_form(self, request: Request, visitor: Visitor) -> Response:
        to = _inside(request.query_params.get("to", ""))
        if visitor.token is not None:
            return RedirectResponse(to, HTTPStatus.SEE_OTHER)
        return self._looks.page("sign_in", visitor, to=to, problem="")

    async def _sign_in(self, request: Request, visitor: Visitor) -> Response:
        form = await form_of(request)
        to = _inside(form.get("to", ""))
        response = RedirectResponse(to, HTTPStatus.SEE_OTHER)
        if await self._gate.sign_in(request, form.get("token", "").strip(), response):
            return response
        # A good token is always let in: whoever guesses behind the same proxy locks nobody out.
        status, problem = HTTPStatus.UNAUTHORIZED, "That token opens nothing."
        wait_seconds = self._gate.count_try(request)
        if wait_seconds > 0:
            status, problem = HTTPStatus.TOO_MANY_REQUESTS, "Too many tries. Wait a few minutes."
        refusal = self._looks.page("sign_in", visitor, status, to=to, problem=problem)
        if wait_seconds > 0:
            refusal.headers["Retry-After"] = str(int(wait_seconds) + 1)
        return refusal

    async def _sign_out(self, request: Request, _visitor: Visitor) -> Response:
        response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
        self._gate.sign_out(request, response)
        return response


def _path_of(request: Request) -> str:
    """The path and query of a request, from the raw scope (CVE-2026-48710)."""
    query = request.scope["query_string"].decode("latin-1")
    path = quote(request.scope["path"])
    return f"{path}?{query}" if query else path


def _inside(to: str) -> str:
    """Where to go after signing in: a path of this console, whatever was asked for."""
    is_path = to.startswith("/") and not to.startswith("//") and "\\" not in to
    return to if is_path and to.isprintable() else "/"
