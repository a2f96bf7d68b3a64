"""A local stand-in for clariBI: its whole REST API, and the webhooks that it signs and sends.

    app = create_app()                     # a Starlette application: serve it with uvicorn
    sandbox = app.state.sandbox            # a `Sandbox`: shape it from the same process
    sandbox.add_webhook("http://127.0.0.1:8000/hooks/claribi", secret="…")
    sandbox.fail_next(2, status=503, retry_after_seconds=1)
    await sandbox.fire("report.generated", report_id=15)
    await sandbox.drain()                  # until no job runs and no webhook waits

The API is at `/api/`, its OpenAPI document at `/openapi.json`.

Seeded logins (password; role). API keys go in `X-API-Key`, `Authorization: Bearer` or `Api-Key`:

    user@example.com     your-password      administrator   claribi_sk_test_administrator
    analyst@example.com  analyst-password   analyst         claribi_sk_test_analyst
    viewer@example.com   viewer-password    viewer          claribi_sk_test_viewer
    mfa@example.com      mfa-password       analyst         with TOTP, see `totp_secret`
    (read-only key)                         administrator   claribi_sk_test_read_only

A login with TOTP answers `{"mfa_required": true, "mfa_token": "…"}`; `POST auth/mfa/verify/` takes
`{"mfa_token": "…", "code": "123456"}` and answers with the tokens. Webhooks registered without a
secret are signed with `sandbox.webhook_secret`.

The control API, JSON without a login, for tests in other processes:

    GET    /sandbox/                  credentials, time, balance, jobs, faults, webhooks
    POST   /sandbox/reset/            back to the seeded state; webhooks stay
    POST   /sandbox/faults/           {count, status, error, retry_after_seconds, method, path,
                                       after, drop, body, delay_seconds, slow}; DELETE clears
    POST   /sandbox/jobs/fail-next/   {kind: sync|report, error, count}
    POST   /sandbox/expire-tokens/    {refresh: false}
    POST   /sandbox/time/             {advance_seconds}
    POST   /sandbox/credits/          {remaining}
    POST   /sandbox/rate-limit/       {requests: 100|null, window_seconds: 60}
    POST   /sandbox/events/           {event, data}: fires it; answers with the deliveries
    GET    /sandbox/webhooks/         POST {url, secret, events} adds one, DELETE …/{id}/ removes it
    GET    /sandbox/deliveries/       ?status=pending|delivered|failed: the webhooks sent
    GET    /sandbox/calls/            every call that reached the API
    POST   /sandbox/drain/            {timeout_seconds}: waits until nothing is under way
"""

from claribi.sandbox.app import create_app
from claribi.sandbox.clock import SandboxClock
from claribi.sandbox.events import EVENT_TYPES
from claribi.sandbox.records import Delivery, Fault, Webhook
from claribi.sandbox.sandbox import Sandbox
from claribi.sandbox.signing import Signer, claribi_signer
from claribi.sandbox.state_file import StateFileError
from claribi.sandbox.world import Call, RateLimit, Settings

__all__ = [
    "EVENT_TYPES",
    "Call",
    "Delivery",
    "Fault",
    "RateLimit",
    "Sandbox",
    "SandboxClock",
    "Settings",
    "Signer",
    "StateFileError",
    "Webhook",
    "claribi_signer",
    "create_app",
]
