"""The console's ASGI app: its pages, who may see each, and what every answer carries.

It listens on an address of its own, never on that of the webhooks. There is no script, and nothing
is loaded from anywhere else. No GET changes anything.
"""

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
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from receiver.console.forms import FormTooLarge, read_form
from receiver.console.gate import Gate, Visitor
from receiver.console.looks import Looks
from receiver.console.pages import Pages
from receiver.errors import StoreError, StoreUnavailable
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
_STYLE_PATH: Final = "/console.css"


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
        self._looks = Looks(deployment)
        pages = Pages(deployment, self._looks)
        viewer, operator = Role.VIEWER, Role.OPERATOR
        self.pages: Final = (
            Page(path=_STYLE_PATH, method="GET", role=None, answer=self._style),
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
        self._routes = [
            (page, Route(page.path, pages.event, methods=[page.method])) for page in self.pages
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        response = await self._answer(scope, receive)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        request = Request(scope, receive)
        if not self._serves(request.headers.getlist("host")):
            return self._looks.said(
                HTTPStatus.MISDIRECTED_REQUEST,
                "Not this address",
                "The console does not go by that name. Set console.public_url to it.",
            )
        matches = [(page, *route.matches(scope)) for page, route in self._routes]
        for page, match, child in matches:
            if match is Match.FULL:
                scope.update(child)
                return await self._run(page, request)
        if any(match is Match.PARTIAL for _, match, _ in matches):
            status, title = HTTPStatus.METHOD_NOT_ALLOWED, "Not like that"
        else:
            status, title = HTTPStatus.NOT_FOUND, "There is no such page"
        return self._looks.said(status, title, "Go back to the overview.")

    async def _run(self, page: Page, request: Request) -> Response:
        try:
            return await self._guarded(page, request)
        except HTTPException as error:
            return self._looks.said(
                HTTPStatus(error.status_code), HTTPStatus(error.status_code).phrase, error.detail
            )
        except FormTooLarge:
            return self._looks.said(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "That is too much", "Write less, please."
            )
        except StoreUnavailable as error:
            response = self._looks.said(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "Not now",
                f"{error}. Nothing was changed; try again in a moment.",
            )
            response.headers["Retry-After"] = "5"
            return response
        except StoreError:
            log.exception("console.failed", path=request.scope["path"])
        except Exception:  # a request's border: the next one may do better
            log.exception("console.bug", path=request.scope["path"])
        return self._looks.said(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "That did not work",
            "Nothing was changed; the server's log has the details.",
        )

    async def _guarded(self, page: Page, request: Request) -> Response:
        """The page, behind everything that it asks of a visitor."""
        visitor = Visitor()
        if page.path != _STYLE_PATH:
            visitor = await self._gate.visitor(request)
        if page.role is not None and not visitor.may(page.role):
            return self._refuse(request, visitor)
        if page.method != "GET":
            await self._check_form(request, visitor)
        return await page.answer(request, visitor)

    async def _check_form(self, request: Request, visitor: Visitor) -> None:
        """Raises HTTPException 403 for a form that is none of this console's own."""
        if not self._is_own(request):
            raise HTTPException(403, "That form came from another site. Nothing was changed.")
        form = await read_form(request)
        if visitor.session is not None and not self._gate.is_form_of(visitor, form):
            raise HTTPException(403, "That form is too old. Go back, reload, and try again.")

    def _is_own(self, request: Request) -> bool:
        """Whether a form was sent from a page of this very address, as far as the browser tells."""
        if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return False
        origin = request.headers.get("origin")
        own = {request.headers["host"]}
        if public_url := self._deployment.settings.console.public_url:
            own.add(urlsplit(public_url).netloc)
        return origin is None or urlsplit(origin).netloc in own

    def _refuse(self, request: Request, visitor: Visitor) -> Response:
        if visitor.token is not None:
            return self._looks.said(
                HTTPStatus.FORBIDDEN,
                "You may look, not act",
                "Your token is a viewer's. clarihook token create NAME --role operator makes one "
                "that may.",
                visitor,
            )
        if request.method != "GET":
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
        if len(hosts) != 1:
            return False
        name = (urlsplit(f"//{hosts[0]}").hostname or "") if _is_plain(hosts[0]) else ""
        console = self._deployment.settings.console
        own = {console.host.lower()} - {"0.0.0.0", "::"}  # noqa: S104 - names no host
        if console.public_url is not None:
            own.add(urlsplit(console.public_url).hostname or "")
        return name in _LOOPBACK | own

    # -- signing in and out -------------------------------------------------------------------

    async def _style(self, _request: Request, _visitor: Visitor) -> Response:
        return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})

    async def _sign_in_form(self, request: Request, visitor: Visitor) -> Response:
        return self._looks.page(
            "sign_in", visitor, to=_inside(request.query_params.get("to", "")), problem=""
        )

    async def _sign_in(self, request: Request, visitor: Visitor) -> Response:
        form = await read_form(request)
        to = _inside(form.get("to", ""))
        wait_seconds = self._gate.wait_seconds(request)
        if wait_seconds > 0:
            response = self._looks.page(
                "sign_in",
                visitor,
                HTTPStatus.TOO_MANY_REQUESTS,
                to=to,
                problem="Too many tries. Wait a few minutes.",
            )
            response.headers["Retry-After"] = str(int(wait_seconds) + 1)
            return response
        response = RedirectResponse(to, HTTPStatus.SEE_OTHER)
        if await self._gate.sign_in(request, form.get("token", "").strip(), response):
            return response
        return self._looks.page(
            "sign_in",
            visitor,
            HTTPStatus.UNAUTHORIZED,
            to=to,
            problem="That token opens nothing. Make one: clarihook token create NAME",
        )

    async def _sign_out(self, request: Request, _visitor: Visitor) -> Response:
        response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
        self._gate.sign_out(request, response)
        return response


def _is_plain(host: str) -> bool:
    return not set(host) & set("/\\@?# ")


def _path_of(request: Request) -> str:
    """The path and query of a request, from the raw scope (CVE-2026-48710)."""
    query = request.scope["query_string"].decode("latin-1")
    path = quote(request.scope["path"])
    return f"{path}?{query}" if query else path


def _inside(to: str) -> str:
    """Where to go after signing in: a path of this console, whatever was asked for."""
    is_path = to.startswith("/") and not to.startswith(("//", "/\\")) and to.isprintable()
    return to if is_path and "\\" not in to else "/"
