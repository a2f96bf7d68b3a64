"""Who is in the seeded organization, and the credentials that work. All made up, all public."""

from claribi.sandbox.records import ApiKey, User

ORGANIZATION_ID = 1
ORGANIZATION_NAME = "Acme Corp"
PLAN = "professional"
USER_LIMIT = 15
DATA_SOURCE_LIMIT = 15

TOTP_SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"  # noqa: S105 - the tutorials' example, twice
WEBHOOK_SECRET = "sandbox-webhook-secret-not-for-production"  # noqa: S105 - made up

USERS: tuple[User, ...] = (
    User(
        id=1,
        email="user@example.com",
        first_name="Jane",
        last_name="Smith",
        role="administrator",
        password="your-password",  # noqa: S106 - the reference's own example
    ),
    User(
        id=2,
        email="analyst@example.com",
        first_name="Ana",
        last_name="Lyst",
        role="analyst",
        password="analyst-password",  # noqa: S106
        workspace_ids=(1, 2, 3),
    ),
    User(
        id=3,
        email="viewer@example.com",
        first_name="Vic",
        last_name="Weaver",
        role="viewer",
        password="viewer-password",  # noqa: S106
        workspace_ids=(3,),
    ),
    User(
        id=4,
        email="mfa@example.com",
        first_name="Mia",
        last_name="Factor",
        role="analyst",
        password="mfa-password",  # noqa: S106
        totp_secret=TOTP_SECRET,
        workspace_ids=(1, 2, 3, 4),
    ),
    User(id=5, email="omar@example.com", first_name="Omar", last_name="Haddad", role="analyst"),
    User(id=6, email="lena@example.com", first_name="Lena", last_name="Vogel", role="analyst"),
    User(id=7, email="ravi@example.com", first_name="Ravi", last_name="Patel", role="viewer"),
    User(id=8, email="sofia@example.com", first_name="Sofía", last_name="Núñez", role="viewer"),
    User(id=9, email="kenji@example.com", first_name="Kenji", last_name="Mori", role="viewer"),
    User(id=10, email="tess@example.com", first_name="Tess", last_name="O'Neil", role="viewer"),
    User(id=11, email="ivan@example.com", first_name="Ivan", last_name="Petrov", role="viewer"),
)

API_KEYS: tuple[ApiKey, ...] = (
    ApiKey(key="claribi_sk_test_administrator", user_id=1),
    ApiKey(key="claribi_sk_test_analyst", user_id=2),
    ApiKey(key="claribi_sk_test_viewer", user_id=3),
    ApiKey(key="claribi_sk_test_read_only", user_id=1, read_only=True),
)


def find_user(user_id: int) -> User | None:
    """The user with this id."""
    return next((user for user in USERS if user.id == user_id), None)


def find_login(email: str) -> User | None:
    """The user with this e-mail, in any case, if that user can log in."""
    wanted = email.casefold()
    return next((user for user in USERS if user.password and user.email == wanted), None)
