"""Who is calling: API keys in every style that clariBI's pages show, and JWTs."""

import hmac
import uuid
from dataclasses import dataclass

import pyotp
from starlette.datastructures import Headers

from claribi.sandbox.errors import TOKEN_EXPIRED, unauthenticated
from claribi.sandbox.people import API_KEYS, find_user
from claribi.sandbox.records import Role, User
from claribi.sandbox.tokens import BadToken, Claims, TokenType, decode, encode
from claribi.sandbox.world import World

RANK: dict[Role, int] = {"viewer": 0, "analyst": 1, "administrator": 2}
MFA_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, and whether the credential may change things."""

    user: User
    read_only: bool = False

    def has_role(self, role: Role) -> bool:
        """Whether the user has this role or one above it."""
        return RANK[self.user.role] >= RANK[role]


def identify(world: World, headers: Headers) -> Identity:
    """The caller. Raises ApiError 401; `token_expired` only for an expired access token.

    Read are `X-API-Key: key`, `Authorization: Api-Key key` and `Authorization: Bearer`, which
    takes a key as well as a JWT.
    """
    key = headers.get("x-api-key")
    if key is not None:
        return _by_key(key)
    scheme, _, credential = headers.get("authorization", "").partition(" ")
    credential = credential.strip()
    match scheme.lower():
        case "api-key":
            return _by_key(credential)
        case "bearer" if credential.startswith("claribi_"):
            return _by_key(credential)
        case "bearer":
            return Identity(_by_access_token(world, credential))
        case _:
            raise unauthenticated("Authentication credentials were not provided")


def issue(world: World, user: User, token_type: TokenType) -> str:
    """A new token for this user, with the lifetime of its type."""
    lifetimes: dict[TokenType, int] = {
        "access": world.settings.access_token_seconds,
        "refresh": world.settings.refresh_token_seconds,
        "mfa": MFA_SECONDS,
    }
    now = int(world.clock.now())
    claims = Claims(
        token_type=token_type,
        user_id=user.id,
        generation=_generation(world, token_type),
        jti=uuid.uuid4().hex,
        iat=now,
        exp=now + lifetimes[token_type],
    )
    return encode(claims, bytes.fromhex(world.state.signing_key))


def redeem(world: World, token: str, token_type: TokenType) -> User:
    """The user whom this token names. Raises ApiError 401.

    The reference's `token_expired` is about access tokens, so any other expired token is
    `authentication_failed`: a client that refreshed on it would turn in circles.
    """
    try:
        claims = decode(token, bytes.fromhex(world.state.signing_key))
    except BadToken as error:
        raise unauthenticated("The token is invalid") from error
    user = find_user(claims.user_id)
    if claims.token_type != token_type or user is None:
        raise unauthenticated(f"The token is not a valid {token_type} token")
    is_old = claims.generation < _generation(world, token_type)
    if is_old or claims.exp <= world.clock.now():
        code = TOKEN_EXPIRED if token_type == "access" else "authentication_failed"  # noqa: S105
        raise unauthenticated(f"The {token_type} token has expired", code=code)
    return user


def verify_totp(world: World, user: User, code: str) -> bool:
    """Whether a code fits now, or one step of 30 s to either side.

    Judged by real time, since an authenticator knows nothing of the sandbox's clock. A code may
    be used twice, so that tests can log in twice within one step.
    """
    if user.totp_secret is None:
        return False
    totp = pyotp.TOTP(user.totp_secret)
    return totp.verify(code, for_time=int(world.clock.real()), valid_window=1)


def same_secret(given: str, known: str) -> bool:
    """Compared as bytes, in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), known.encode())


def _by_key(given: str) -> Identity:
    for known in API_KEYS:
        user = find_user(known.user_id)
        if user and same_secret(given, known.key):
            return Identity(user, known.read_only)
    raise unauthenticated("Invalid API key")


def _by_access_token(world: World, token: str) -> User:
    return redeem(world, token, "access")


def _generation(world: World, token_type: TokenType) -> int:
    state = world.state
    return state.access_generation if token_type == "access" else state.refresh_generation  # noqa: S105
