"""What is computed from a view once, however many checks and panels ask for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

P = ParamSpec("P")
T = TypeVar("T")
#: A stored run, or whatever else is evidence.
V = TypeVar("V")


def per_view(function: Callable[Concatenate[V, P], T]) -> Callable[Concatenate[V, P], T]:
    """Keep the results of ``function(view, *arguments)`` for the lifetime of the view; the arguments are hashable.

    Not in the view itself: a copy of it that lacks some requests (``RunView.without``) has results of its own.
    """
    known: WeakKeyDictionary[V, dict[Hashable, T]] = WeakKeyDictionary()

    @wraps(function)
    def once(view: V, /, *arguments: P.args, **named: P.kwargs) -> T:
        found, key = known.setdefault(view, {}), (arguments, *named.items())
        if key not in found:
            found[key] = function(view, *arguments, **named)
        return found[key]

    return once
