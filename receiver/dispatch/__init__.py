"""Runs durable deliveries: claims them, gives them to handlers and targets, records the end."""

from receiver.dispatch.dispatcher import Dispatcher
from receiver.dispatch.intake import DispatchIntake
from receiver.dispatch.lane import Lane, Postpone

__all__ = ["DispatchIntake", "Dispatcher", "Lane", "Postpone"]
