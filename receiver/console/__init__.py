"""The web console: what came, what became of it, and who takes care. An ASGI app of its own."""
