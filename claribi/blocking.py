"""The synchronous face of the asynchronous code: no logic, and no copied signature.

    class BlockingReports(Blocking[Reports]):
        get = blocking(Reports.get)

gives `BlockingReports.get` the parameters, the result and the docstring of `Reports.get`.
"""

from collections.abc import Callable, Coroutine
from functools import WRAPPER_ASSIGNMENTS
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")
AsyncT = TypeVar("AsyncT")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing but `BlockingIO`."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise AssertionError("a coroutine of the blocking client suspended: it awaited no BlockingIO")


class Blocking(Generic[AsyncT]):
    """Base of a resource's synchronous face; `_target` is the resource that does the work."""

    def __init__(self, target: AsyncT) -> None:
        self._target = target


class _Converted(Generic[AsyncT, P, T, U]):
    """A method of `AsyncT` as one of its synchronous face, its result converted by `convert`."""

    def __init__(
        self, function: Callable[Concatenate[AsyncT, P], T], convert: Callable[[T], U]
    ) -> None:
        self._function = function
        self._convert = convert
        # What functools.update_wrapper does, which is typed for functions only: for help().
        self.__wrapped__ = function
        for name in WRAPPER_ASSIGNMENTS:
            setattr(self, name, getattr(function, name))

    def __get__(self, face: Blocking[AsyncT] | None, owner: type[Any]) -> Callable[P, U]:
        if face is None:
            return self  # type: ignore[return-value]  # for help() and inspect, on the class
        target, function, convert = face._target, self._function, self._convert

        def method(*args: P.args, **kwargs: P.kwargs) -> U:
            return convert(function(target, *args, **kwargs))

        return method


def blocking(
    function: Callable[Concatenate[AsyncT, P], Coroutine[Any, Any, T]],
) -> _Converted[AsyncT, P, Coroutine[Any, Any, T], T]:
    """A coroutine method, run to its end."""
    return _Converted(function, run)


def blocking_as(
    convert: Callable[[T], U],
    function: Callable[Concatenate[AsyncT, P], Coroutine[Any, Any, T]],
) -> _Converted[AsyncT, P, Coroutine[Any, Any, T], U]:
    """A coroutine method, run to its end, its result shown with a synchronous face."""
    return _Converted(function, lambda coroutine: convert(run(coroutine)))


def converted(
    convert: Callable[[T], U], function: Callable[Concatenate[AsyncT, P], T]
) -> _Converted[AsyncT, P, T, U]:
    """A plain method whose result is shown with a synchronous face."""
    return _Converted(function, convert)
