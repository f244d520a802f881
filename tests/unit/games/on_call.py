"""A service that breaks and is on call for, without HTTP or a stack: what a scripted team sees of it and does to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.model.errors import AdapterError, UsageError
from harness.run.desk import data
from harness.run.teams.seat import Seat
from tests.unit.desk.boards import a_view

GATEWAYS, REPLICAS = ("gateway-a", "gateway-b"), ("replica-1", "replica-2")
#: From when on something is wrong, when a game is over, and how long users feel what is over: the objectives' window.
BREAKS_S, ENDS_S, WINDOW_S = 40.0, 400.0, 20.0
ENDED, FROZEN = "a replica's process has ended and is not started again", "a replica's processes are frozen, and silent"
DEAF = "a replica's engine hangs while its server and its health check go on"
DRAINED = "a gateway was ordered to send a replica no requests"
SWALLOWED = "the network path from a gateway to a replica swallows everything"
SLOWER = "the new version of the model is slower than the old one"
SLOW_PATH = "the network path from a gateway to a replica is slow, and the new version is innocent"
EARLY = "many clients start long answers and hang up after the first words, again and again"
QUEUED = "many clients hang up while they wait in the queue, and come again"
#: And one that is never true.
MECHANISMS = (ENDED, FROZEN, DEAF, DRAINED, SWALLOWED, SLOWER, SLOW_PATH, EARLY, QUEUED, "DNS lies")


def status() -> dict[str, Any]:
    """A game in which all is well."""
    view = data.of_players(a_view())
    replicas = [{"name": one, "role": "replica", "state": "running", "used_by": used()} for one in REPLICAS]
    gateways = [{"name": one, "role": "gateway", "state": "running", "used_by": {}} for one in GATEWAYS]
    ttft = {"name": "ttft", "objective": "<= 800 ms", "value": 200.0, "unit": "ms", "kept": True}
    components = [*replicas, *gateways]
    diagnosis = {"components": [one["name"] for one in components], "mechanisms": list(MECHANISMS)}
    return {**view, "slos": [ttft], "alerts": [], "components": components, "diagnosis": diagnosis}


def used() -> dict[str, dict[str, Any]]:
    """By each gateway, as configured."""
    return {gateway: {"state": "ready", "weight": 100, "healthy": True} for gateway in GATEWAYS}


def replica(view: Mapping[str, Any], name: str) -> Any:
    """That component."""
    return next(one for one in view["components"] if one["name"] == name)


def page(name: str, **labels: str) -> dict[str, Any]:
    """A page that fires."""
    return {"name": name, "severity": "page", "labels": labels, "since_s": BREAKS_S}


@dataclass
class Service:
    """``breaks`` changes a status as what is wrong does; it is over after any of ``cures``: command and component.

    ``curves``: chart → name → values, while it is wrong and while it is not.
    """

    breaks: Callable[[dict[str, Any]], None]
    cures: tuple[tuple[str, str], ...] = ()
    wrong_curves: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    usual_curves: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    mechanisms: tuple[str, ...] = MECHANISMS
    now_s: float = 0.0
    cured_s: float | None = None
    done: list[tuple[str, ...]] = field(default_factory=list)
    drained: set[tuple[str, str]] = field(default_factory=set)
    silent: Callable[[float], bool] = lambda now_s: False

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds

    @property
    def wrong(self) -> bool:
        """Whether it is broken now."""
        return self.now_s >= BREAKS_S and self.cured_s is None

    def status(self) -> dict[str, Any]:
        """As it is now; users feel it for some time longer. AdapterError when the game is over."""
        if self.now_s > ENDS_S or self.silent(self.now_s):
            raise AdapterError("nothing listens")
        view = status()
        view["clock_s"], view["diagnosis"]["mechanisms"] = self.now_s, list(self.mechanisms)
        if self.wrong:
            self.breaks(view)
        felt = self.wrong or (self.cured_s is not None and self.now_s < self.cured_s + WINDOW_S)
        if felt:
            view["slos"][0].update(value=1500.0, kept=False)
        for name, gateway in self.drained:
            replica(view, name)["used_by"][gateway]["state"] = "drain"
        return view

    def charts(self, last_s: float) -> list[dict[str, Any]]:
        """As data of the desk."""
        found = self.wrong_curves if self.wrong else self.usual_curves
        return [
            {"id": chart, "series": [{"name": name, "values": self._now(values)} for name, values in curves.items()]}
            for chart, curves in found.items()
        ]

    def _now(self, values: list[float]) -> list[float]:
        """Measured values are never twice the same."""
        return [value * (1 + self.now_s / 10_000) for value in values]

    def say(self, who: str, kind: str, text: str) -> None:
        """Kept."""
        self.done.append(("say", kind))

    def diagnose(self, who: str, component: str, mechanism: str, since: float | str) -> None:
        """Kept; the beginning has to be near."""
        assert abs(float(since) - BREAKS_S) < 60
        self.done.append(("diagnose", component, mechanism))

    def ops(self, who: str, command: str, component: str, value: str) -> str:
        """Kept; what cures is over. UsageError for a rollback after it."""
        if command == "rollback" and not self.wrong:
            raise UsageError("no rollout is under way")
        self.done.append((command, component, value))
        if command in ("drain", "undrain"):
            (self.drained.add if command == "drain" else self.drained.discard)((component, value))
        if self.wrong and (command, component) in self.cures:
            self.cured_s = self.now_s
        return "done"

    def played(self, team: Any) -> list[tuple[str, ...]]:
        """What a team does until the game is over."""
        team.play(Seat(self, "a team", lambda words: None, self.sleep))
        return self.done

    def orders(self) -> list[tuple[str, ...]]:
        """The commands alone."""
        return [one for one in self.done if one[0] not in ("say", "diagnose")]

    def said(self) -> list[str]:
        """The kinds of messages alone."""
        return [one[1] for one in self.done if one[0] == "say"]

    def diagnoses(self) -> list[tuple[str, ...]]:
        """The answers alone."""
        return [one[1:] for one in self.done if one[0] == "diagnose"]
