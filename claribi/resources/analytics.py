"""`/analytics/query/`: questions that an AI answers."""

from collections.abc import Mapping, Sequence
from typing import Any

from claribi.blocking import Blocking, blocking
from claribi.call import Call
from claribi.enums import QueryFormat
from claribi.models import QueryResult, Usage
from claribi.reading import reader
from claribi.reconcile import Reconciliation
from claribi.requests import QueryRequest
from claribi.resources.base import Resource
from claribi.retry import Kind

_read_result = reader(QueryResult)
_read_usage = reader(Usage)


class Analytics(Resource):
    """AI-powered queries."""

    async def query(
        self,
        query: str,
        /,
        *,
        data_source_ids: Sequence[int] | None = None,
        format: QueryFormat | str | None = None,  # noqa: A002 - the API's own word
        extra: Mapping[str, Any] | None = None,
    ) -> QueryResult:
        """Ask a question. Costs 1 AI credit; the answer may take up to `Timeout.query_seconds`.

        `format`: `table` (rows), `summary` (text only), `chart` (with a suggestion how to draw).
        Never sent twice if it may have happened: then OutcomeUnknownError.
        """
        body = QueryRequest.of(
            query=query, data_source_ids=data_source_ids, format=format, **(extra or {})
        )
        call = Call(
            method="POST",
            path="analytics/query/",
            kind=Kind.PAID,
            json=body.to_dict(),
            read=_read_result,
            is_query=True,
            reconcile=self._look_at_credits,
        )
        result = await self._run(call)
        self._engine.shared.credits.learn(result.credits_remaining, used=result.credits_used)
        return result

    async def _look_at_credits(self, _started_at: float) -> Reconciliation:
        before = self._engine.shared.credits.now
        call = Call(method="GET", path="billing/usage/", kind=Kind.SAFE, read=_read_usage)
        usage = await self._run(call)
        is_less = (
            before.is_exact
            and before.remaining is not None
            and usage.ai_credits.remaining < before.remaining
        )
        return Reconciliation(
            found=(usage,) if is_less else (),
            note="billing usage, if credits are fewer than last known; an answer can't be fetched",
        )


class BlockingAnalytics(Blocking[Analytics]):
    """AI-powered queries."""

    query = blocking(Analytics.query)
