"""One server for the tests that leave it as it was."""

from collections.abc import Iterator

import pytest
from ingress_server import SECRET, Served, claribi_source, served

STANDARD_SECRET = "whsec_bWFkZS11cC1zZWNyZXQtZm9yLXRlc3RzLTAx"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A source of every scheme; no handler."""
    keyed = {"secrets": [SECRET]}
    sources = {
        "claribi": claribi_source(),
        "github": {"scheme": "github", **keyed},
        "github-by-id": {"scheme": "github", "dedupe": "header:X-GitHub-Delivery", **keyed},
        "by-header": claribi_source(dedupe="header:X-Id"),
        "stripe": {"scheme": "stripe", **keyed},
        "stripe-by-body": {"scheme": "stripe", "dedupe": "body", **keyed},
        "slack": {"scheme": "slack", **keyed},
        "shopify": {"scheme": "shopify", **keyed},
        "standard": {"scheme": "standard", "secrets": [STANDARD_SECRET]},
        "standard-by-body": {"scheme": "standard", "dedupe": "body", "secrets": [STANDARD_SECRET]},
        "hmac": {"scheme": "hmac", "header": "X-Sig", "type": "json:/meta/0/kind", **keyed},
        "open": {"scheme": "none", "insecure": True},
        "keeping": claribi_source(malformed="store"),
    }
    with served(
        tmp_path_factory.mktemp("home"), sources=sources, server={"max_body_bytes": 200_000}
    ) as running:
        yield running
