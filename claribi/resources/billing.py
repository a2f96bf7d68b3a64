"""`/billing/`: usage and pricing."""

from claribi.blocking import Blocking, blocking
from claribi.call import Call
from claribi.models import PricingConfig, Usage
from claribi.reading import reader
from claribi.resources.base import Resource
from claribi.retry import Kind

_read_usage = reader(Usage)
_read_pricing = reader(PricingConfig)


class Billing(Resource):
    """What the organization uses and what plans cost."""

    async def usage(self) -> Usage:
        """The current billing period: credits, data sources, users."""
        call = Call(method="GET", path="billing/usage/", kind=Kind.SAFE, read=_read_usage)
        usage = await self._run(call)
        self._engine.shared.credits.learn(usage.ai_credits.remaining)
        return usage

    async def pricing_config(self) -> PricingConfig:
        """All plans, with prices and limits."""
        return await self._run(
            Call(method="GET", path="billing/pricing-config/", kind=Kind.SAFE, read=_read_pricing)
        )


class BlockingBilling(Blocking[Billing]):
    """What the organization uses and what plans cost."""

    usage = blocking(Billing.usage)
    pricing_config = blocking(Billing.pricing_config)
