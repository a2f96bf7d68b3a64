"""Durable storage: the Store protocol and its implementations."""
