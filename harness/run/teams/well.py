"""The team that plays well: it looks for the odd one out, says what it takes to be wrong, and acts on that alone.

``suspect`` looks at one status and some curves and names what differs from its like; ``Responder`` is what an on-call
does with that: say that something is wrong, diagnose, act once, wait, say that it is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median

from harness.model.game import clock
from harness.run.teams.seat import Seat, View, names, paged, users_well

SUMMARY = "finds the odd one out, diagnoses, acts on that alone, and tells users"
#: A suspicion is believed once it has been the same for so long: half of what is wrong shows earlier than the rest.
SETTLED_S = 6.0
#: What was done may take so long to help; then it is tried once more.
HELPS_WITHIN_S = 150.0
#: It is over when users have been well for so long; so long after that, gateways that were avoided are used again.
OVER_AFTER_S, GIVE_BACK_AFTER_S = 10.0, 150.0
#: Users hear of it again after so long.
STATUS_EVERY_S = 300.0
#: One replica is slower than the others from this ratio of their times to the first token on, over so many samples.
SLOWER, SAMPLES_MIN = 1.5, 5
#: A gateway has a storm from this multiple of the requests that it had when users were well.
STORM = 1.5

Order = tuple[str, str, str]
Curves = Callable[[str], Mapping[str, list[float]]]


@dataclass(frozen=True)
class Suspect:
    """What is wrong, ``words`` of its mechanism, what is to be done, and why it is thought so: with figures, so that it
    reads differently at each look.
    """

    component: str
    words: str
    evidence: str = field(compare=False)
    orders: tuple[Order, ...]


@dataclass
class Memory:
    """What a look at one status does not tell."""

    drained: set[tuple[str, str]] = field(default_factory=set)  # by us: replica, gateway
    candidate: str = ""  # the replica that a rollout was seen to change
    rollout_s: float = 0.0
    usual: dict[str, float] = field(default_factory=dict)  # gateway → requests a second while users were well


def suspect(view: View, curves: Curves, memory: Memory) -> Suspect | None:
    """The first suspicion whose mechanism the diagnosis list has; None without any."""
    for rule in (_ended, _frozen, _deaf, _drained, _swallowed, _slower_version, _slow_path, _storm):
        for found in rule(view, curves, memory):
            if mechanism(view, found.words):
                return found
    return None


def mechanism(view: View, words: str) -> str:
    """The one of the list that has these words in it; "" for none."""
    return next((one for one in view["diagnosis"]["mechanisms"] if words in one), "")


# ── what differs from its like ──


def _replicas(view: View) -> Iterator[tuple[str, str, Mapping[str, Mapping[str, object]]]]:
    """Name, state, and how each gateway uses it."""
    for one in view["components"]:
        if one["role"] == "replica":
            yield one["name"], one["state"], one["used_by"]


def _ended(view: View, _: Curves, __: Memory) -> Iterator[Suspect]:
    for name, state, _used in _replicas(view):
        if state not in ("running", "starting", "paused", "unknown"):
            yield Suspect(name, "process has ended", f"its process is {state}", (("restart", name, ""),))


def _frozen(view: View, _: Curves, __: Memory) -> Iterator[Suspect]:
    """Its process is there, and no gateway gets an answer from its health check."""
    for name, state, used in _replicas(view):
        ill = used and all(use["healthy"] is False for use in used.values())
        if state == "paused" or (state == "running" and ill):
            yield Suspect(name, "frozen", f"it is {state}, and does not answer", (("restart", name, ""),))


def _deaf(view: View, _: Curves, __: Memory) -> Iterator[Suspect]:
    for alert in view["alerts"]:
        if alert["name"] == "ReplicaDeaf" and (name := alert["labels"].get("component")):
            yield Suspect(name, "engine hangs", "healthy, and generates nothing", (("restart", name, ""),))


def _drained(view: View, _: Curves, memory: Memory) -> Iterator[Suspect]:
    """One gateway sends it nothing, by order, and the others do; that was not us."""
    for name, _state, used in _replicas(view):
        out = [
            gateway for gateway, use in used.items()
            if use["state"] != "ready" and (name, gateway) not in memory.drained
        ]  # fmt: skip
        if len(out) == 1 and len(used) > 1:
            order = ("undrain", name, out[0])
            yield Suspect(name, "ordered to send a replica no requests", f"{out[0]} does not use it", (order,))


def _swallowed(view: View, _: Curves, __: Memory) -> Iterator[Suspect]:
    """One gateway does not reach it, and another does: it is the way between the two."""
    for name, _state, used in _replicas(view):
        ill = [gateway for gateway, use in used.items() if use["healthy"] is False]
        if len(ill) == 1 and len(used) > 1:
            path = f"{ill[0]}-to-{name}"
            yield Suspect(path, "swallows everything", f"only {ill[0]} does not reach it", avoid(view, ill[0]))


def _slower_version(_: View, curves: Curves, memory: Memory) -> Iterator[Suspect]:
    """The replica that a rollout has changed is slower than the others, asked directly."""
    seen = {name: median(values) for name, values in curves("synthetic").items() if len(values) >= SAMPLES_MIN}
    others = [value for name, value in seen.items() if name != memory.candidate]
    if memory.candidate in seen and others and seen[memory.candidate] > SLOWER * max(others):
        evidence = f"{seen[memory.candidate]:.2f} s to the first token, others {max(others):.2f} s"
        yield Suspect(memory.candidate, "version of the model is slower", evidence, (("rollback", "", ""),))


def _slow_path(view: View, curves: Curves, memory: Memory) -> Iterator[Suspect]:
    """Users wait, and every replica is quick: the way to one that no rollout has changed, from where users are."""
    late = any(slo["kept"] is False for slo in view["slos"] if slo["unit"] == "ms")
    rates = requests(curves)
    rest = [name for name in names(view, "replica") if name != memory.candidate]
    if late and memory.candidate and rates and rest:
        gateway = max(rates, key=lambda name: rates[name])
        words = "path from a gateway to a replica is slow"
        yield Suspect(f"{gateway}-to-{rest[0]}", words, "replicas are quick, users wait", avoid(view, gateway))


def _storm(view: View, curves: Curves, memory: Memory) -> Iterator[Suspect]:
    """A gateway has far more requests than when users were well. Those without an answer hung up in the queue."""
    rates = requests(curves)
    grown = {name: rate / memory.usual[name] for name, rate in rates.items() if memory.usual.get(name, 0.0) > 0.0}
    worst = max(grown, key=lambda name: grown[name], default="")
    if worst and grown[worst] > STORM:
        unanswered = requests(curves, "none")
        queued = unanswered.get(worst, 0.0) > (rates[worst] - memory.usual[worst]) / 2
        words = "hang up while they wait in the queue" if queued else "hang up after the first words"
        yield Suspect(worst, words, f"{grown[worst]:.1f} times its usual requests", avoid(view, worst))


def requests(curves: Curves, of_class: str = "") -> dict[str, float]:
    """Gateway → requests a second, of all classes of answers or of one."""
    found: dict[str, float] = {}
    for name, values in curves("requests").items():
        gateway, _, status_class = name.partition(" ")
        if values and of_class in ("", status_class):
            found[gateway] = found.get(gateway, 0.0) + sum(values) / len(values)
    return found


def avoid(view: View, gateway: str) -> tuple[Order, ...]:
    """A gateway without replicas calls itself not ready, and DNS leads users to another: one has to be left."""
    if len(names(view, "gateway")) < 2:
        return ()
    return tuple(("drain", replica, gateway) for replica in names(view, "replica"))


# ── what is done about it ──


@dataclass
class Incident:
    """What is going on, from when users or a page said so."""

    since_s: float
    told_s: float
    suspect: Suspect | None = None
    suspected_s: float = 0.0
    acted_s: float | None = None
    diagnosed: set[str] = field(default_factory=set)
    well_since_s: float | None = None


class Responder:
    """One on-call who looks once a second."""

    def __init__(self, seat: Seat) -> None:
        self.seat, self.memory = seat, Memory()
        self.incident: Incident | None = None
        self.over_s = 0.0
        self._known: set[str] = set()  # pages that were there when the last incident was over

    def look(self, view: View) -> None:
        """One look at the status, and what follows from it."""
        self._notice_rollout(view)
        pages = set(paged(view))
        self._known &= pages
        if self.incident is None:
            if not all(slo["kept"] is not False for slo in view["slos"]) or pages - self._known:
                self._open(view)
            else:
                self._calm(view)
        else:
            self._respond(self.incident, view)

    def _notice_rollout(self, view: View) -> None:
        """A replica that every gateway uses in another way than the others, without an order of ours."""
        for name, _, used in _replicas(view):
            other = used and all(
                (use["state"] != "ready" or use["weight"] != 100) and (name, gateway) not in self.memory.drained
                for gateway, use in used.items()
            )
            if other and not self.memory.candidate:
                self.memory.candidate, self.memory.rollout_s = name, view["clock_s"]

    def _open(self, view: View) -> None:
        now_s = view["clock_s"]
        self.incident = Incident(since_s=now_s, told_s=now_s)
        self.seat.say("found")
        self.seat.say("acknowledged")
        self.seat.say("status", f"Since {clock(now_s)} some answers are slow or fail. We are looking for the cause.")

    def _respond(self, incident: Incident, view: View) -> None:
        now_s = view["clock_s"]
        if now_s >= incident.told_s + STATUS_EVERY_S:
            self._tell_users(incident, now_s, "Some answers are still slow or fail. We are working on it.")
        found = suspect(view, self.seat.curves, self.memory)
        if found is not None and found != incident.suspect:
            incident.suspect, incident.suspected_s = found, now_s
        helped_by_now = incident.acted_s is None or now_s > incident.acted_s + HELPS_WITHIN_S
        if found is not None and now_s >= incident.suspected_s + SETTLED_S and helped_by_now:
            self._act(incident, found, view)
        self._close_when_well(incident, view)

    def _tell_users(self, incident: Incident, now_s: float, text: str) -> None:
        incident.told_s = now_s
        self.seat.say("status", text)

    def _act(self, incident: Incident, found: Suspect, view: View) -> None:
        incident.acted_s = view["clock_s"]
        if found.component not in incident.diagnosed:
            incident.diagnosed.add(found.component)
            of_rollout = "version" in found.words and self.memory.rollout_s
            since_s = self.memory.rollout_s if of_rollout else incident.since_s
            self.seat.diagnose(found.component, mechanism(view, found.words), since_s)
        self._tell_users(incident, view["clock_s"], "We think that we have found the cause, and act on it.")
        for command, component, value in found.orders:
            if self.seat.ops(command, component, value) and command == "drain":
                self.memory.drained.add((component, value))

    def _close_when_well(self, incident: Incident, view: View) -> None:
        now_s = view["clock_s"]
        if not users_well(view) or (incident.acted_s is None and any(paged(view))):
            incident.well_since_s = None
            return
        incident.well_since_s = now_s if incident.well_since_s is None else incident.well_since_s
        if now_s >= incident.well_since_s + OVER_AFTER_S:
            self.incident, self.over_s, self._known = None, now_s, set(paged(view))
            self.seat.say("fixed")
            self.seat.say("status", "Answers are as usual again. We keep an eye on it.")

    def _calm(self, view: View) -> None:
        """What is usual is remembered, and what was set is given back some time after it was over."""
        if not self.memory.drained:
            for gateway, rate in requests(self.seat.curves).items():
                self.memory.usual.setdefault(gateway, rate)
        elif view["clock_s"] > self.over_s + GIVE_BACK_AFTER_S and not _unreached(view, self.memory.drained):
            for replica, gateway in sorted(self.memory.drained):
                self.seat.ops("undrain", replica, gateway)
            self.memory.drained.clear()


def _unreached(view: View, drained: Iterable[tuple[str, str]]) -> bool:
    """Whether a gateway still does not reach a replica that it was told not to use."""
    used = {(name, gateway): use for name, _, by in _replicas(view) for gateway, use in by.items()}
    return any(used[one]["healthy"] is False for one in drained if one in used)


def play(seat: Seat) -> None:
    """Until the game is over."""
    responder = Responder(seat)
    for view in seat.looks():
        responder.look(view)
