"""`dashboards/`: list, show, create, update and delete."""

from claribi.sandbox.auth import Identity
from claribi.sandbox.bodies import DashboardCreate, DashboardQuery, DashboardUpdate
from claribi.sandbox.errors import ApiError, not_found
from claribi.sandbox.incoming import Incoming, answer_list
from claribi.sandbox.records import Dashboard, User, Widget
from claribi.sandbox.shapes import (
    DashboardDetail,
    DashboardSummary,
    Page,
    Position,
    WidgetShape,
)
from claribi.sandbox.world import World


def list_dashboards(world: World, incoming: Incoming[DashboardQuery]) -> Page[DashboardSummary]:
    """The dashboards that the caller may see."""
    seen = [one for one in world.state.dashboards.values() if _is_visible(one, incoming.user)]
    return answer_list(incoming, seen, lambda one: _summary(world, one))


def get_dashboard(world: World, incoming: Incoming[None]) -> DashboardDetail:
    """One dashboard with its widgets."""
    return _detail(world, _find(world, incoming.id, incoming.user))


def create_dashboard(world: World, incoming: Incoming[DashboardCreate]) -> DashboardDetail:
    """A new dashboard without widgets, owned by the caller."""
    body, now = incoming.input, world.clock.moment()
    _check_name(world, body.name)
    dashboard = Dashboard(
        id=world.state.next_id("dashboard"),
        name=body.name,
        description=body.description,
        workspace_id=body.workspace_id,
        created_by_id=incoming.user.id,
        created_at=now,
        updated_at=now,
    )
    world.state.dashboards[dashboard.id] = dashboard
    return _detail(world, dashboard)


def update_dashboard(world: World, incoming: Incoming[DashboardUpdate]) -> DashboardDetail:
    """Change the given fields; null leaves a field as it is."""
    dashboard = _find_editable(world, incoming)
    changes = incoming.input.model_dump(exclude_unset=True, exclude_none=True)
    if "name" in changes:
        _check_name(world, changes["name"], besides=dashboard.id)
    for field, value in changes.items():
        setattr(dashboard, field, value)
    dashboard.updated_at = world.clock.moment()
    return _detail(world, dashboard)


def delete_dashboard(world: World, incoming: Incoming[None]) -> None:
    """Delete it with its widgets."""
    del world.state.dashboards[_find_editable(world, incoming).id]


def _find(world: World, number: int, user: User) -> Dashboard:
    """What one may not see does not exist (404)."""
    dashboard = world.state.dashboards.get(number)
    if dashboard is None or not _is_visible(dashboard, user):
        raise not_found("dashboard", number)
    return dashboard


def _find_editable(world: World, incoming: Incoming[DashboardUpdate] | Incoming[None]) -> Dashboard:
    dashboard = _find(world, incoming.id, incoming.user)
    assert incoming.identity is not None, "editing is behind a login"
    if not _may_edit(dashboard, incoming.identity):
        raise ApiError(403, detail="Only its creator and administrators can edit this dashboard.")
    return dashboard


def _is_visible(dashboard: Dashboard, user: User) -> bool:
    """Assumption: one sees public dashboards, one's own, and those of one's workspaces."""
    return (
        user.role == "administrator"
        or dashboard.is_public
        or dashboard.created_by_id == user.id
        or dashboard.workspace_id in user.workspace_ids
    )


def _may_edit(dashboard: Dashboard, identity: Identity) -> bool:
    """Assumption about "requires edit access"."""
    return identity.has_role("administrator") or dashboard.created_by_id == identity.user.id


def _check_name(world: World, name: str, *, besides: int | None = None) -> None:
    for dashboard in world.state.dashboards.values():
        if dashboard.id != besides and dashboard.name.casefold() == name.casefold():
            raise ApiError(409, detail=f"A dashboard named {name!r} already exists.")


def _summary(world: World, dashboard: Dashboard) -> DashboardSummary:
    return DashboardSummary(
        id=dashboard.id,
        name=dashboard.name,
        description=dashboard.description,
        workspace_id=dashboard.workspace_id,
        widget_count=len(dashboard.widgets),
        is_public=dashboard.is_public,
        created_by=world.author(dashboard.created_by_id),
        created_at=dashboard.created_at,
        updated_at=dashboard.updated_at,
    )


def _detail(world: World, dashboard: Dashboard) -> DashboardDetail:
    shape = DashboardDetail(
        id=dashboard.id,
        name=dashboard.name,
        description=dashboard.description,
        workspace_id=dashboard.workspace_id,
        is_public=dashboard.is_public,
        widgets=[_widget(widget) for widget in dashboard.widgets],
        created_by=world.author(dashboard.created_by_id),
        created_at=dashboard.created_at,
        updated_at=dashboard.updated_at,
    )
    if dashboard.configuration is not None:
        shape.configuration = dashboard.configuration
    return shape


def _widget(widget: Widget) -> WidgetShape:
    x, y, width, height = widget.position
    return WidgetShape(
        id=widget.id,
        type=widget.type,
        title=widget.title,
        position=Position(x=x, y=y, w=width, h=height),
        data_source_id=widget.data_source_id,
        query=widget.query,
        configuration=widget.configuration,
    )
