"""What can be broken on purpose to see whether a drill notices it, by the names that ``--defect`` takes.

Two kinds: a defect of the stack's configuration is a bare name (``harness.model.topology.DEFECTS``) and lasts as long
as the stack; a switch of the simulator is ``sim.<switch>`` or ``sim.<switch>=<value>``, at one replica with
``@replica-2`` behind it, and lasts as long as the run: a warm stack stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from harness.model.errors import UsageError, did_you_mean
from harness.model.topology import DEFECTS
from stack.simulator.behaviour import Behaviour

_PREFIX = "sim."


@dataclass(frozen=True)
class Switch:
    """One switch of the simulator at some replicas. ``text`` is how the user wrote it."""

    text: str
    name: str
    value: object
    replicas: tuple[str, ...]


def known() -> Mapping[str, str]:
    """Every defect as it is written, with its meaning; a switch that needs a value shows it."""
    switches = {
        f"{_PREFIX}{name}{'' if field.annotation is bool else '=…'}": field.description or ""
        for name, field in Behaviour.model_fields.items()
    }
    return {**DEFECTS, **switches}


def sorted_out(given: Iterable[str], replicas: tuple[str, ...]) -> tuple[frozenset[str], tuple[Switch, ...]]:
    """The defects of the stack and the switches of the simulator among ``given``. UsageError for anything else.

    ``replicas`` are those that the stack has.
    """
    stack: set[str] = set()
    switches = []
    for text in given:
        if text.startswith(_PREFIX):
            switches.append(_switch(text, replicas))
        elif text in DEFECTS:
            stack.add(text)
        else:
            raise _unknown(text)
    return frozenset(stack), tuple(switches)


def meaning(text: str) -> str:
    """What a defect that ``sorted_out`` took does, in words."""
    if text in DEFECTS:
        return DEFECTS[text]
    return Behaviour.model_fields[_name(text)].description or ""


def by_replica(switches: Iterable[Switch]) -> dict[str, dict[str, object]]:
    """What each replica is to be told: replica -> switch -> value."""
    found: dict[str, dict[str, object]] = {}
    for switch in switches:
        for replica in switch.replicas:
            found.setdefault(replica, {})[switch.name] = switch.value
    return found


def _name(text: str) -> str:
    """Of the switch that is written so."""
    return re.split("[=@]", text.removeprefix(_PREFIX))[0]


def _switch(text: str, replicas: tuple[str, ...]) -> Switch:
    rest, at, replica = text.removeprefix(_PREFIX).rpartition("@")
    if not at or ("=" in rest and replica not in replicas):  # versions of a model have an @ of their own
        rest, at = text.removeprefix(_PREFIX), ""
    name, (_, equals, value) = _name(text), rest.partition("=")
    if name not in Behaviour.model_fields:
        raise _unknown(text)
    if at and replica not in replicas:
        raise UsageError(f"--defect {text}: there is no {replica!r}, expected one of {', '.join(replicas)}")
    if not equals and Behaviour.model_fields[name].annotation is not bool:
        example = (Behaviour.model_fields[name].examples or [None])[0]
        raise UsageError(f"--defect {text}: {_PREFIX}{name} needs a value, such as {_PREFIX}{name}={example}")
    try:
        set_to = getattr(Behaviour().changed({name: value if equals else True}), name)
    except ValidationError as error:
        raise UsageError(f"--defect {text}: {error.errors()[0]['msg']} (found {value!r})") from None
    return Switch(text, name, set_to, (replica,) if at else replicas)


def _unknown(text: str) -> UsageError:
    names = {name.removesuffix("=…") for name in known()}
    written = text.partition("=")[0].partition("@")[0]
    hint = did_you_mean(written, names) or "see `.venv/bin/python -m harness list --defects`"
    return UsageError(f"--defect {text}: there is no such defect; {hint}")
