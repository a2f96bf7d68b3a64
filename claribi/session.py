"""A JWT session: log in, renew before expiry and on refusal, once for any number of callers."""

import binascii
import inspect
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pyotp

from claribi.auth import AuthHeader, TokenApi, bearer, checked_header
from claribi.clock import Clock
from claribi.errors import (
    ApiStatusError,
    AuthenticationError,
    BadRequestError,
    ClariBIError,
    ConfigurationError,
    MfaRequiredError,
    SessionExpiredError,
    TokenExpiredError,
)
from claribi.jwt import lifetime_of, renewal_margin
from claribi.models import MfaChallenge, TokenPair
from claribi.transport import IO

Totp = str | Callable[[], str | Awaitable[str]]
"""A base32 secret, or what returns the current code (with `AsyncClariBI` it may be async)."""

HOLD_AFTER_FAILURE_SECONDS = 5.0
HOLD_AFTER_REFUSED_LOGIN_SECONDS = 60.0
"""A refused login is not tried again for this long: clariBI may lock the account."""
_REFUSED_LOGIN = (BadRequestError, AuthenticationError, MfaRequiredError)
_YOUNG_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a session starts from: a password, tokens, or both. `repr` shows the e-mail only."""

    email: str | None = None
    password: str | None = None
    totp: Totp | None = None
    access: str | None = None
    refresh: str | None = None

    def __post_init__(self) -> None:
        if (self.email is None) != (self.password is None):
            raise ConfigurationError("email and password go together")
        if self.email is None and self.access is None and self.refresh is None:
            raise ConfigurationError("a session needs email and password, or tokens")
        if isinstance(self.totp, str):
            _code_at(self.totp, 0)

    def __repr__(self) -> str:
        return f"Credentials(email={self.email!r})"


def jwt_password(email: str, password: str, totp: Totp | None = None) -> Credentials:
    """Log in by e-mail and password, with TOTP where the account asks for it."""
    return Credentials(email=email, password=password, totp=totp)


def jwt_tokens(access: str | None, refresh: str | None) -> Credentials:
    """Go on with tokens of an earlier login; either may be None."""
    return Credentials(access=access, refresh=refresh)


class JwtSession:
    """An `Auth` of tokens that are renewed. Tokens are kept in memory only."""

    def __init__(self, credentials: Credentials, *, api: TokenApi, io: IO, clock: Clock) -> None:
        self._credentials = credentials
        self._api = api
        self._io = io
        self._clock = clock
        self._refresh = credentials.refresh
        self._header: AuthHeader | None = None
        self._obtained_at = 0.0
        self._renew_at = self._ends_at = math.inf
        self._hold: tuple[float, ClariBIError] | None = None
        if credentials.access is not None:
            self._set_access(credentials.access, is_fresh=False)

    def __repr__(self) -> str:
        return f"JwtSession({self._credentials!r})"

    def header(self) -> AuthHeader | None:
        """See `Auth`."""
        return self._header

    async def prepare(self) -> None:
        """See `Auth`. A token that could not be renewed early serves until its end."""
        now = self._clock.monotonic()
        if self._header is not None and now < self._renew_at:
            return
        try:
            await self.renew(self._header)
        except ClariBIError:
            if self._header is None or now >= self._ends_at:
                raise

    def may_renew(self, error: ApiStatusError, used: AuthHeader | None) -> bool:
        """Yes for an expired token; for any other 401 unless the token is brand-new."""
        if isinstance(error, TokenExpiredError) or used != self._header:
            return True
        return self._clock.monotonic() - self._obtained_at > _YOUNG_SECONDS

    async def renew(self, used: AuthHeader | None) -> None:
        """See `Auth`. One refresh or login serves all who ask at the same time; a failure is
        told to all of them, and to whoever asks in the next 5 s (60 s after a refused login).
        """
        if used == self._header:
            await self._io.once(lambda: self._renew(used))

    async def _renew(self, used: AuthHeader | None) -> None:
        if used != self._header:
            return  # Another thread renewed it after the caller had looked.
        if self._hold is not None and self._clock.monotonic() < self._hold[0]:
            # Without its old traceback, which would grow with every caller.
            raise self._hold[1].with_traceback(None)
        try:
            await self._refresh_or_login()
        except ClariBIError as error:
            is_refusal = isinstance(error, _REFUSED_LOGIN)
            seconds = HOLD_AFTER_REFUSED_LOGIN_SECONDS if is_refusal else HOLD_AFTER_FAILURE_SECONDS
            self._hold = (self._clock.monotonic() + seconds, error)
            raise
        self._hold = None

    async def _refresh_or_login(self) -> None:
        if self._refresh is not None:
            try:
                self._adopt(await self._api.refresh(self._refresh))
            except (AuthenticationError, BadRequestError) as error:
                self._refresh = None
                if self._credentials.email is None:
                    raise self._expired() from error
            else:
                return
        self._adopt(await self._login())

    async def _login(self) -> TokenPair:
        email, password = self._credentials.email, self._credentials.password
        if email is None or password is None:
            raise self._expired()
        answer = await self._api.login(email, password)
        if isinstance(answer, TokenPair):
            return answer
        return await self._api.complete_mfa(answer, await self._totp_code(answer))

    async def _totp_code(self, challenge: MfaChallenge) -> str:
        totp = self._credentials.totp
        if totp is None:
            raise MfaRequiredError(
                "the login needs a TOTP code: pass totp= (a base32 secret, or a callable that "
                "returns the code), or use an API key",
                challenge=challenge,
            )
        if isinstance(totp, str):
            return _code_at(totp, self._clock.time())
        code = totp()
        return await code if inspect.isawaitable(code) else code

    def _expired(self) -> SessionExpiredError:
        return SessionExpiredError(
            "the session has expired and there is no password to log in again: log in and make "
            "a client with the new tokens, or use an API key"
        )

    def _adopt(self, pair: TokenPair) -> None:
        """Take tokens that were just issued."""
        self._set_access(pair.access, is_fresh=True)
        self._refresh = pair.refresh or self._refresh

    def _set_access(self, access: str, *, is_fresh: bool) -> None:
        # The age of a fresh token is known, so our wall clock need not agree with the server's.
        self._header = checked_header(bearer(access))
        self._obtained_at = self._clock.monotonic()
        self._renew_at = self._ends_at = math.inf
        lifetime = lifetime_of(access)
        if lifetime is not None:
            now = self._clock.time()
            ttl = max(0.0, lifetime.expires_at - (lifetime.issued_at or now))
            left = ttl if is_fresh else lifetime.expires_at - now
            self._ends_at = self._obtained_at + left
            self._renew_at = self._ends_at - renewal_margin(ttl)


def _code_at(secret: str, moment: float) -> str:
    try:
        return pyotp.TOTP(secret.replace(" ", "")).at(int(moment))
    except (binascii.Error, ValueError) as error:
        # pyotp refuses short secrets too (under 112 bits), which some services still hand out.
        raise ConfigurationError(
            f"totp is no base32 secret that can be used: {error} "
            "(a callable that returns the code takes its place)"
        ) from None
