"""Handlers: registering them with `@on`, loading them from files, what they are given."""

from receiver.registry.context import Context, HandlerStore, Resources
from receiver.registry.decorator import on
from receiver.registry.handler import Handler, SchemaError
from receiver.registry.load import Problem, Registry, load_handlers

__all__ = [
    "Context",
    "Handler",
    "HandlerStore",
    "Problem",
    "Registry",
    "Resources",
    "SchemaError",
    "load_handlers",
    "on",
]
