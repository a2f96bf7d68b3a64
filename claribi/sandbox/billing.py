"""`billing/`: this period's usage, and what the plans cost."""

import calendar

from claribi.sandbox import people
from claribi.sandbox.incoming import Incoming
from claribi.sandbox.shapes import (
    BillingPeriod,
    CreditUsage,
    DataSourceUsage,
    Plan,
    Pricing,
    Usage,
    UserUsage,
)
from claribi.sandbox.world import World

PRICING = Pricing(
    plans=[
        Plan(
            slug="trial",
            name="Trial",
            price=0,
            duration_days=14,
            users=1,
            ai_credits=50,
            data_sources=3,
        ),
        Plan(slug="starter", name="Starter", price=99, users=3, ai_credits=500, data_sources=10),
        Plan(
            slug="professional",
            name="Professional",
            price=199,
            users=15,
            ai_credits=1500,
            data_sources=50,
            features=["rbac", "scheduled_reports", "priority_support"],
        ),
        Plan(
            slug="enterprise",
            name="Enterprise",
            price=999,
            users=100,
            ai_credits=5000,
            data_sources=100,
            features=["rbac", "custom_roles", "sso", "audit_log", "dedicated_support"],
        ),
    ]
)
"""The reference's plans to the letter."""


def usage(world: World, incoming: Incoming[None]) -> Usage:  # noqa: ARG001 - one shape of operation
    """The current month of the sandbox's time.

    The limit of 15 data sources is the reference's example, although its price list says 50.
    """
    today, state = world.clock.moment().date(), world.state
    last_day = calendar.monthrange(today.year, today.month)[1]
    return Usage(
        billing_period=BillingPeriod(start=today.replace(day=1), end=today.replace(day=last_day)),
        plan=people.PLAN,
        ai_credits=CreditUsage(
            total=state.credits_total,
            used=state.credits_total - state.credits_remaining,
            remaining=state.credits_remaining,
        ),
        data_sources=DataSourceUsage(limit=people.DATA_SOURCE_LIMIT, used=len(state.data_sources)),
        users=UserUsage(limit=people.USER_LIMIT, active=len(people.USERS)),
    )


def pricing(world: World, incoming: Incoming[None]) -> Pricing:  # noqa: ARG001
    """Every plan."""
    return PRICING
