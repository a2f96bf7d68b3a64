"""`auth/`: logging in, TOTP, refreshing, and who one is."""

from claribi.sandbox import people
from claribi.sandbox.auth import issue, redeem, same_secret, verify_totp
from claribi.sandbox.bodies import Login, MfaVerify, Refresh
from claribi.sandbox.errors import unauthenticated
from claribi.sandbox.incoming import Incoming
from claribi.sandbox.records import User
from claribi.sandbox.shapes import (
    AccessToken,
    AuthStatus,
    MfaChallenge,
    OrganizationShape,
    TokenPair,
    UserShape,
)
from claribi.sandbox.world import World


def login(world: World, incoming: Incoming[Login]) -> TokenPair | MfaChallenge:
    """Tokens, or a challenge for a user with TOTP."""
    user = people.find_login(incoming.input.email)
    if user is None or not same_secret(incoming.input.password, user.password or ""):
        raise unauthenticated("No active account with these credentials")
    if user.totp_secret:
        return MfaChallenge(mfa_required=True, mfa_token=issue(world, user, "mfa"))
    return _token_pair(world, user)


def verify_mfa(world: World, incoming: Incoming[MfaVerify]) -> TokenPair:
    """The second half of a login with TOTP."""
    user = redeem(world, incoming.input.mfa_token, "mfa")
    if not verify_totp(world, user, incoming.input.code):
        raise unauthenticated("The TOTP code is wrong")
    return _token_pair(world, user)


def refresh(world: World, incoming: Incoming[Refresh]) -> AccessToken:
    """A new access token; the refresh token stays the same."""
    user = redeem(world, incoming.input.refresh, "refresh")
    return AccessToken(access=issue(world, user, "access"))


def status(world: World, incoming: Incoming[None]) -> AuthStatus:
    """The caller's profile and organization."""
    user = incoming.user
    return AuthStatus(
        user=UserShape(
            id=user.id,
            email=user.email,
            first_name=user.first_name,
            last_name=user.last_name,
            role=user.role,
        ),
        organization=OrganizationShape(
            id=people.ORGANIZATION_ID,
            name=people.ORGANIZATION_NAME,
            plan=people.PLAN,
            ai_credits_remaining=world.state.credits_remaining,
        ),
    )


def _token_pair(world: World, user: User) -> TokenPair:
    return TokenPair(access=issue(world, user, "access"), refresh=issue(world, user, "refresh"))
