"""A drill: what we believe, what is done, how it is judged, what to do when it is red. One file each in drills/."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.model.errors import UsageError, did_you_mean
from harness.model.verdict import CheckResult

if TYPE_CHECKING:  # the names of the drills are asked for before any package is there
    from harness.evidence.view import RunView

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = ROOT / "scenarios"


@dataclass(frozen=True)
class Reading:
    """A metric that has to be sampled so often while there is no load. ``labels`` None: with whatever labels it has."""

    metric: str
    times: int
    labels: str | None = None


@dataclass(frozen=True)
class ReplicaSamples:
    """So many answers a check needs of a single replica, which gets no more than its share of the users' requests.

    Counted is what begins ``from_s`` after the end of a phase in ``after``, or later, and has ended when the next fault
    begins; for several phases, all of it together.
    """

    count: int
    after: tuple[str, ...]
    from_s: float


@dataclass(frozen=True)
class Check:
    """An invariant, judged from a stored run.

    ``needs`` names what has to be valid before the value may be compared: ``"load"`` (the generator kept its schedule),
    ``"metrics"`` (no gaps), ``"fault:<phase>"`` (effect and heal proven); and what has to be there at all:
    ``"gateways"``, ``"replicas"``, ``"alerts"`` (Drillyard's own, whose state can be seen), ``"phase:<phase>"``. Where
    that is not so, on an external target, it is not asked (harness/judge/verdicts.py). ``safety`` checks may FAIL even
    in an invalid run. ``promises``: it asks whether the service keeps its promises in these phases. Before the first
    fault a slow machine looks like a slow service, so where all of them are there, a FAIL becomes INCONCLUSIVE: no
    steady state. ``despite`` names findings that keep it from PASS but not from FAIL: those that are the consequence of
    its FAIL.

    ``timing``: what is compared is a time, or depends on how fast the machine is. Only such a FAIL can become
    INCONCLUSIVE because others disturbed the machine (harness/judge/disturbed.py). ``per_request``: it judges requests,
    so that it can be asked of those alone that met no disturbance. ``after_heal``: it speaks of the time after the heal
    of its phase. ``steady``: it asks for a steady state.

    ``replica_samples``: the answers that it needs of a single replica. A scenario is fitted to a machine so that they
    come, or the machine is too small for it (harness/plan/fitting.py).

    ``before_load``, ``after_load``: the load begins once these were read of each replica, and after it these are read
    again, of whoever has them, one after the other. Both are waited for with a bound.

    ``id`` says in kebab-case what is asked, whatever the sentence, phase and component: with ``phase`` and ``subject``
    (the component that it is about, or an objective's cohort) it names the same question in every run, for ever.
    ``name`` is for people and may change. ``arguments`` is what it was made with, as data: limits, components, phases.
    The plan holds them, so that a run is judged by what it was planned for.
    """

    id: str
    name: str
    question: str  # what the check asks, as one sentence for people
    run: Callable[[RunView], CheckResult]
    needs: frozenset[str] = frozenset()
    safety: bool = False
    despite: frozenset[str] = frozenset()
    promises: tuple[str, ...] = ()
    timing: bool = False
    per_request: bool = False
    after_heal: bool = False
    steady: bool = False
    before_load: tuple[Reading, ...] = ()
    after_load: tuple[Reading, ...] = ()
    replica_samples: ReplicaSamples | None = None
    phase: str | None = None
    subject: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Which question it is: id, phase and subject, as far as it has them."""
        return "/".join([self.id, self.phase or "", self.subject or ""]).rstrip("/")

    @property
    def phases(self) -> frozenset[str]:
        """The phases that it is about, by what it needs."""
        return frozenset(need.partition(":")[2] for need in self.needs if need.startswith(("fault:", "phase:")))

    def missing(self, phases: Mapping[str, Collection[str]], wanted: Mapping[str, str]) -> str | None:
        """What a scenario lacks that it needs, by its phases: name → types of what is injected in it; or None.

        ``wanted`` are the types that the drill's faults are of (``Drill.faults``).
        """
        faulty = {need.partition(":")[2] for need in self.needs if need.startswith("fault:")}
        for name in sorted(self.phases | ({self.phase} if self.phase else set())):
            if name not in phases:
                return f"a phase {name!r}"
            if name in faulty and not phases[name]:
                return f"a fault in the phase {name!r}"
            if name in faulty and (type_name := wanted.get(name)) and type_name not in phases[name]:
                return f"{type_name} in the phase {name!r}"
        return None

    def lacks(self, phases: frozenset[str]) -> str | None:
        """What it needs and a run of these phases on an external target does not have; None when it can be asked."""
        if roles := sorted(self.needs & {"gateways", "replicas", "alerts"}):
            return f"it needs the state of the {' and '.join(roles)}, which only Drillyard's own stack shows"
        missing = sorted(self.phases - phases)
        return f"it needs the phase {missing[0]}, which this runtime's scenario does not have" if missing else None


def planned(checks: Iterable[Check]) -> dict[str, Any]:
    """What a plan says of its checks: key → the arguments, as JSON has them."""
    return {check.key: _data(check.arguments) for check in checks}


def _data(value: Any) -> Any:
    """An argument as JSON has it. TypeError for what is no data: a plan could not hold it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _data(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _data(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_data(one) for one in value]
    if value is not None and not isinstance(value, str | int | float):
        raise TypeError(f"{type(value).__name__} cannot be an argument of a check: expected text, numbers or data")
    return value


@dataclass(frozen=True)
class Expected:
    """An alert that a fault phase must bring, or must not (``fires=False``); one whose labels include ``labels``.

    ``signal_delay_s`` is how long the stack may take until what the rule looks at shows the fault, ``clear_delay_s``
    until it shows the heal: from mechanisms. What the rule itself may take comes on top (harness/model/alert_rules.py).

    ``holds``, of an alert that must not fire: what the rule watches must stay within its limit, too. Without it the
    alert must not be false; whether users may feel what it is true of, the objectives of the phase decide.
    """

    phase: str
    alert: str
    labels: Mapping[str, str] = field(default_factory=dict)
    fires: bool = True
    signal_delay_s: float = 0.0
    clear_delay_s: float = 0.0
    holds: bool = False

    def __str__(self) -> str:
        """The alert as Prometheus writes it."""
        return self.alert + (f"{{{', '.join(f'{k}={v}' for k, v in self.labels.items())}}}" if self.labels else "")


@dataclass(frozen=True)
class Drill:
    """Everything about a drill that is no data.

    ``scenario`` is a file stem in scenarios/; a runtime may have one of its own, ``<scenario>.<runtime>.yaml``, and
    ``external`` are the checks that speak of the phases of that for external targets. ``alerts`` are made into checks
    by harness/judge/checks/alerts.py, which also asks every drill for a baseline without a
    page, and for none once it has recovered. ``faults`` says of each phase that a check needs the fault of, which type
    that has to be: limits and alerts are made for it. A phase that it does not name may have faults of any type.

    ``core``: its stored runs, sample pages and runs in CI are of real vLLM. Others run in CI on the simulator.
    """

    name: str
    title: str
    hypothesis: str
    scenario: str
    checks: tuple[Check, ...]
    runbook: str  # what to do when it is red, markdown
    briefing: str  # the symptoms only, for a game day
    faults: Mapping[str, str] = field(default_factory=dict)
    external: tuple[Check, ...] = ()
    alerts: tuple[Expected, ...] = ()
    core: bool = True


def names() -> list[str]:
    """The names of all drills, sorted: one per file in drills/."""
    return sorted(p.stem.replace("_", "-") for p in (ROOT / "drills").glob("*.py") if p.stem != "__init__")


def core() -> list[str]:
    """The names of the core drills, sorted."""
    return [name for name in names() if load(name).core]


def scenario_file(name: str) -> Path:
    """Where the scenario called ``name`` lies among those that are shipped, whether it is there or not."""
    return SCENARIOS / f"{name}.yaml"


def require(name: str) -> None:
    """UsageError, with the nearest name, when no drill is called ``name``."""
    if name not in names():
        hint = f"{did_you_mean(name, names())} Known drills: {', '.join(names())}".lstrip()
        raise UsageError(f"there is no drill {name!r}: {hint}")


def load(name: str) -> Drill:
    """The drill called ``name``. UsageError when there is none."""
    require(name)
    drill = importlib.import_module(f"drills.{name.replace('-', '_')}").DRILL
    if not isinstance(drill, Drill):
        raise UsageError(f"drills/{name.replace('-', '_')}.py: DRILL is {type(drill).__name__}, expected a Drill")
    return drill
