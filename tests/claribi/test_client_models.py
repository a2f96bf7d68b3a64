"""Models lose nothing, refuse no unknown value, and never show a secret."""

import json
import pickle
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from client_coverage import COVERED
from hypothesis import given
from hypothesis import strategies as st
from reference_text import load

from claribi import enums, models, requests
from claribi.enums import DataSourceStatus, OpenEnum, Role
from claribi.errors import ConfigurationError

ENUMS = OpenEnum.__subclasses__()

TEXT = st.text(max_size=20)
WORD = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=6,
)
MOMENT = st.integers(0, 7 * 10**15).map(
    lambda us: (
        (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us))
        .isoformat()
        .replace("+00:00", "Z")
    )
)
ID = st.integers(1, 2**60)


def shape(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object of that shape: optional fields may be missing or null, others may come on top."""
    nullable = {name: st.none() | values for name, values in optional.items()}
    unknown = st.dictionaries(WORD.map("x_".__add__), JSON, max_size=3)
    known = st.fixed_dictionaries(required, optional=nullable)
    return st.tuples(unknown, known).map(lambda parts: parts[0] | parts[1])


USER_REF = shape({"id": ID}, {}) | shape({"id": ID, "name": TEXT}, {})
LISTED = {"id": ID, "name": TEXT}
SOURCE = {"type": TEXT, "engine": TEXT, "status": TEXT}
CONFIGURATION = shape(
    {}, {"host": TEXT, "port": st.integers(0, 65535), "schema": TEXT, "ssl": st.booleans()}
)
POSITION = shape(dict.fromkeys("xywh", st.integers(-9, 99)), {})
WIDGET = shape(
    {"id": ID, "type": TEXT},
    {
        "title": TEXT,
        "position": POSITION,
        "data_source_id": ID,
        "query": TEXT,
        "configuration": st.dictionaries(WORD, JSON, max_size=3),
    },
)
STARTED = {"task_id": TEXT}

SHAPES: dict[type[models.Model], st.SearchStrategy[dict[str, Any]]] = {
    models.TokenPair: shape({"access": TEXT}, {"refresh": TEXT}),
    models.MfaChallenge: shape({}, {}),
    models.AuthStatus: shape(
        {
            "user": shape({"id": ID, "email": TEXT, "first_name": TEXT}, {"role": TEXT}),
            "organization": shape(LISTED, {"plan": TEXT, "ai_credits_remaining": ID}),
        },
        {},
    ),
    models.DataSourceSummary: shape(LISTED | SOURCE, {"last_synced_at": MOMENT}),
    models.DataSource: shape(
        LISTED | SOURCE,
        {
            "configuration": CONFIGURATION,
            "sync_frequency": TEXT,
            "tables": st.lists(TEXT, max_size=3),
            "created_at": MOMENT,
            "updated_at": MOMENT,
        },
    ),
    models.SyncStarted: shape({}, STARTED | {"message": TEXT, "estimated_duration": TEXT}),
    models.Dashboard: shape(
        LISTED | {"widgets": st.lists(WIDGET, max_size=3)},
        {"description": TEXT, "workspace_id": ID, "created_by": USER_REF, "updated_at": MOMENT},
    ),
    models.DashboardSummary: shape(LISTED, {"widget_count": ID, "is_public": st.booleans()}),
    models.Report: shape(
        LISTED | {"status": TEXT},
        {"template": TEXT, "schedule": TEXT, "content": JSON, "last_generated_at": MOMENT},
    ),
    models.ReportStarted: shape({"id": ID, "status": TEXT}, STARTED | {"credits_used": ID}),
    models.QueryResult: shape(
        {},
        {
            "query": TEXT,
            "results": st.lists(st.dictionaries(WORD, JSON, max_size=3), max_size=3),
            "visualization_suggestion": TEXT,
            "credits_remaining": ID,
        },
    ),
    models.Usage: shape(
        {
            "billing_period": st.just({"start": "2025-07-01", "end": "2025-07-31"}),
            "ai_credits": shape(dict.fromkeys(("total", "used", "remaining"), ID), {}),
        },
        {"plan": TEXT, "users": shape({"active": ID}, {"limit": ID})},
    ),
    models.PricingConfig: st.fixed_dictionaries(
        {
            "plans": st.lists(
                shape(
                    {"slug": TEXT, "name": TEXT, "features": st.lists(TEXT, max_size=3)},
                    {"price": st.integers(0, 10**6) | st.floats(0, 1e6), "duration_days": ID},
                ),
                max_size=3,
            )
        }
    ),
    models.WebhookEvent: shape({"event": TEXT}, {"timestamp": MOMENT}),
}


@pytest.mark.parametrize("model", SHAPES, ids=lambda model: model.__name__)
@given(data=st.data())
def test_any_object_is_read_and_nothing_is_lost(
    model: type[models.Model], data: st.DataObject
) -> None:
    value = data.draw(SHAPES[model])
    read = model.model_validate(value)
    assert same(read.to_dict(), value)
    assert model.model_validate_json(json.dumps(value)).to_dict() == read.to_dict()


def same(left: Any, right: Any) -> bool:
    """Equal JSON; moments are compared as moments."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if left != right and isinstance(left, str) and isinstance(right, str):
        return datetime.fromisoformat(left) == datetime.fromisoformat(right)
    return bool(left == right) and type(left) is type(right)


@pytest.mark.parametrize("one", load().operations, ids=lambda one: one.name)
def test_the_references_examples_are_kept_as_they_are(one: Any) -> None:
    model = COVERED[one.name].model
    if one.response is not None and model is not None:
        assert model.model_validate(one.response).to_dict() == one.response


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.__name__)
@given(value=st.text())
def test_any_text_is_a_value_of_every_enum(enum: type[OpenEnum], value: str) -> None:
    member = enum(value)
    assert isinstance(member, enum)
    assert member == value
    assert str(member) == member.value == value
    assert member.is_known == (value in {one.value for one in enum})
    assert pickle.loads(pickle.dumps(member)) == member


def test_unknown_values_leave_the_enum_as_it_is() -> None:
    before = list(DataSourceStatus)
    DataSourceStatus("syncing")
    assert list(DataSourceStatus) == before
    with pytest.raises(ValueError, match="7"):
        DataSourceStatus(7)


def test_roles_are_compared_without_regard_to_case() -> None:
    assert Role("Analyst") == Role.ANALYST == "ANALYST"
    assert hash(Role("Analyst")) == hash(Role.ANALYST)
    assert str(Role("Analyst")) == "Analyst"
    assert Role.ANALYST != Role.VIEWER


def test_every_enum_is_open() -> None:
    classes = [one for one in vars(enums).values() if isinstance(one, type)]
    ours = [one for one in classes if one.__module__ == enums.__name__]
    assert all(issubclass(one, OpenEnum) for one in ours)


def test_moments_are_aware() -> None:
    source = models.DataSourceSummary.model_validate(
        {
            "id": 1,
            "name": "n",
            "type": "t",
            "engine": "e",
            "status": "s",
            "last_synced_at": "2025-07-15T08:00:00",
            "created_at": "2025-07-15T10:00:00+02:00",
        }
    )
    assert source.last_synced_at == source.created_at == datetime(2025, 7, 15, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("price", "kind"), [(99, int), (99.5, float), ("99.00", Decimal), (None, type(None))]
)
def test_money_keeps_its_type(price: Any, kind: type) -> None:
    plan = models.Plan.model_validate({"slug": "s", "name": "n", "price": price})
    assert type(plan.price) is kind
    assert plan.to_dict()["price"] == price


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("2 minutes", timedelta(minutes=2)),
        ("30 seconds", timedelta(seconds=30)),
        ("1 hour", timedelta(hours=1)),
        ("soon", None),
        ("-1 hour", None),
        ("99999999 hours", None),
        ("1 hour or so", None),
        (None, None),
    ],
)
def test_estimates_are_read_where_they_can_be(text: str | None, span: timedelta | None) -> None:
    assert models.parse_estimate(text) == span


SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "model",
    [
        models.TokenPair(access=SECRET, refresh=SECRET),
        models.Configuration.model_validate({"host": "h", "password": SECRET, "api_key": SECRET}),
        models.Configuration.model_validate({"tunnel": {"ssh": [{"private_key": SECRET}]}}),
        models.MfaChallenge.model_validate({"mfa_required": True, "ticket": SECRET}),
        requests.LoginRequest(email="a@b.c", password=SECRET),
        requests.RefreshRequest(refresh=SECRET),
        requests.DatabaseConfiguration(
            host="h", port=1, database="d", username="u", password=SECRET
        ),
        requests.DataSourceCreate.of(
            name="n", type="database", engine="e", configuration={"dsn": SECRET}
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_repr_shows_no_secret(model: models.Model) -> None:
    assert SECRET not in repr(model)
    assert SECRET not in str(model)
    assert SECRET in json.dumps(model.to_dict())


def test_wrong_body_is_refused_without_quoting_it() -> None:
    with pytest.raises(ConfigurationError, match="data_source_ids") as caught:
        requests.QueryRequest.of(query="q", data_source_ids=[SECRET])
    assert SECRET not in str(caught.value)


def test_configuration_is_sent_whole() -> None:
    body = requests.DatabaseConfiguration.of(
        host="h", port=1, database="d", username="u", password=SECRET, schema="public", role="r"
    )
    sent = body.to_dict()
    assert sent["schema"] == "public"
    assert sent["role"] == "r"
    assert "ssl" not in sent


def test_plan_is_found_by_slug() -> None:
    pricing = models.PricingConfig.model_validate({"plans": [{"slug": "pro", "name": "Pro"}]})
    plan = pricing.plan("pro")
    assert plan is not None
    assert plan.name == "Pro"
    assert pricing.plan("none") is None
