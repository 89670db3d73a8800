"""How is a callable of any kind wrapped without changing what it is?"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, TypeVar, cast

__all__ = ["AsyncSteps", "Kind", "decorate", "drive", "kind_of"]

F = TypeVar("F")


class Kind(Enum):
    """What a call of a function gives."""

    FUNCTION = "function"
    COROUTINE = "coroutine"
    GENERATOR = "generator"
    ASYNC_GENERATOR = "async generator"


def kind_of(function: Callable[..., Any]) -> Kind:
    """Return what a call gives, also for partials and for objects with an async ``__call__``."""
    candidates = [function]
    if not inspect.isroutine(function) and not inspect.isclass(function):
        candidates.append(type(function).__call__)
    for each in candidates:
        if inspect.iscoroutinefunction(each):
            return Kind.COROUTINE
        if inspect.isasyncgenfunction(each):
            return Kind.ASYNC_GENERATOR
        if inspect.isgeneratorfunction(each):
            return Kind.GENERATOR
    return Kind.FUNCTION


def decorate(target: F, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> F:
    """Wrap `target`, keeping staticmethod and classmethod objects what they are.

    Args:
        target: A callable, or a staticmethod or classmethod object around one.
        make: Returns the wrapper of a plain callable.
    """
    if isinstance(target, staticmethod | classmethod):
        return cast(F, type(target)(make(target.__func__)))
    return cast(F, make(cast(Callable[..., Any], target)))


Within = Callable[[], AbstractContextManager[object]]


def drive(generator: Generator[Any, Any, Any], within: Within) -> Generator[Any, Any, Any]:
    """Run a generator step by step, each step inside a context manager; values, exceptions and close pass through."""
    sent: Any = None
    thrown: BaseException | None = None
    while True:
        try:
            with within():
                item = generator.send(sent) if thrown is None else generator.throw(thrown)
        except StopIteration as stop:
            return stop.value
        sent, thrown = None, None
        try:
            sent = yield item
        except GeneratorExit:
            with within():
                generator.close()
            raise
        except BaseException as error:
            thrown = error


class AsyncSteps:
    """The same for an asynchronous generator, which has no ``yield from``: its wrapper writes the loop itself.

    steps = AsyncSteps(function(*args, **kwargs), within)
    while await steps.advance():
        try:
            steps.send(yield steps.item)
        except GeneratorExit:
            await steps.close()
            raise
        except BaseException as error:
            steps.throw(error)
    """

    def __init__(self, generator: AsyncGenerator[Any, Any], within: Within) -> None:
        self._generator = generator
        self._within = within
        self._sent: Any = None
        self._thrown: BaseException | None = None
        self.item: Any = None

    async def advance(self) -> bool:
        """Take the next item; False at the end."""
        sent, thrown = self._sent, self._thrown
        self._sent, self._thrown = None, None
        try:
            with self._within():
                step = self._generator.asend(sent) if thrown is None else self._generator.athrow(thrown)
                self.item = await step
        except StopAsyncIteration:
            return False
        return True

    def send(self, value: object) -> None:
        """Hand `value` in at the next step."""
        self._sent = value

    def throw(self, error: BaseException) -> None:
        """Throw `error` in at the next step."""
        self._thrown = error

    async def close(self) -> None:
        """Close the generator."""
        with self._within():
            await self._generator.aclose()
