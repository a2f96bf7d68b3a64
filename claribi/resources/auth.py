"""`/auth/`: log in, complete MFA, refresh, status.

A client with a password does all this by itself; these are for those who keep tokens themselves.
"""

from claribi.answers import Reply, json_of
from claribi.blocking import Blocking, blocking
from claribi.call import Call
from claribi.errors import RequestInfo
from claribi.models import AuthStatus, MfaChallenge, TokenPair
from claribi.reading import reader
from claribi.requests import LoginRequest, RefreshRequest
from claribi.resources.base import Resource
from claribi.retry import Kind

MFA_VERIFY_PATH = "auth/mfa/verify/"
"""Our assumption: the reference names no endpoint for the TOTP code."""

_read_status = reader(AuthStatus)
_read_tokens = reader(TokenPair)
_read_challenge = reader(MfaChallenge)


class AuthResource(Resource):
    """Sessions and who is logged in. None of these changes the client's own session."""

    async def login(self, email: str, password: str) -> TokenPair | MfaChallenge:
        """Tokens, or the challenge of an account with MFA. Raises AuthenticationError."""
        body = LoginRequest(email=email, password=password)
        return await self._run(
            Call(
                method="POST",
                path="auth/login/",
                kind=Kind.LOGIN,
                json=body.to_dict(),
                read=_read_login,
                needs_auth=False,
            )
        )

    async def complete_mfa(self, challenge: MfaChallenge, code: str) -> TokenPair:
        """Tokens, for a challenge and its TOTP code. Raises AuthenticationError.

        Sent are `code` and whatever the challenge held beside its flag.
        """
        known = {k: v for k, v in challenge.to_dict().items() if k != "mfa_required"}
        return await self._run(
            Call(
                method="POST",
                path=MFA_VERIFY_PATH,
                kind=Kind.LOGIN,
                json={**known, "code": code},
                read=_read_tokens,
                needs_auth=False,
            )
        )

    async def refresh(self, refresh: str) -> TokenPair:
        """A new access token; `refresh` of the result is set only if the server rotates it."""
        return await self._run(
            Call(
                method="POST",
                path="auth/token/refresh/",
                kind=Kind.REFRESH,
                json=RefreshRequest(refresh=refresh).to_dict(),
                read=_read_tokens,
                needs_auth=False,
            )
        )

    async def status(self) -> AuthStatus:
        """The current user and organization, with the AI credits that remain."""
        call = Call(method="GET", path="auth/status/", kind=Kind.SAFE, read=_read_status)
        status = await self._run(call)
        self._engine.shared.credits.learn(status.organization.ai_credits_remaining)
        return status


def _read_login(reply: Reply, request: RequestInfo) -> TokenPair | MfaChallenge:
    body = json_of(reply, request)
    # The reference gives the flag's name only: without a token, it can't be anything else.
    is_challenge = isinstance(body, dict) and (body.get("mfa_required") or "access" not in body)
    return _read_challenge(reply, request) if is_challenge else _read_tokens(reply, request)


class BlockingAuth(Blocking[AuthResource]):
    """Sessions and who is logged in. None of these changes the client's own session."""

    login = blocking(AuthResource.login)
    complete_mfa = blocking(AuthResource.complete_mfa)
    refresh = blocking(AuthResource.refresh)
    status = blocking(AuthResource.status)
