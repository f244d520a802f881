"""What set off a real incident: the nearest fault that Drillyard knows, by what the series show.

Nobody recorded what was done to the service. From the outside a paused process and a cut network look alike: what could
not be told apart is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.incident import case
from reports.incident.case import Case, Entry, Trigger

#: A component that was started anew so soon before it answered again, in scrapes, was started because of it.
_STARTED_WITHIN = 4


@dataclass(frozen=True)
class _Sign:
    """One thing that was wrong with a component, from when to when (infinite: until the end)."""

    component: str
    from_s: float
    until_s: float
    what: str
    fault: dict[str, object]
    unknown: str
    entry: Entry
    until_within_s: float


def trigger(of: Case) -> Trigger:
    """The earliest sign, with the others that overlap it; what no sign explains is not guessed."""
    signs = sorted((*_silent(of), *_without(of)), key=lambda sign: sign.from_s)
    if not signs:
        return Trigger(
            "Nothing in the metrics shows what set it off: every component answered its scrapes, and gateways used all "
            "replicas.", (), None, None, (),
            "A change of load, of the model or of the clients does not show in these series.",
        )  # fmt: skip
    parts = [f"{sign.what} from {case.utc(of, sign.from_s, sign.entry.within_s)} {_until(of, sign)}" for sign in signs]
    ends = [sign.until_s for sign in signs]
    return Trigger(
        f"Nearest known faults: {'; '.join(parts)}.",
        tuple(dict.fromkeys(sign.component for sign in signs)),
        signs[0].from_s,
        None if any(math.isinf(end) for end in ends) else max(ends),
        tuple(dict.fromkeys(sign.entry.source for sign in signs)),
        " ".join(dict.fromkeys(sign.unknown for sign in signs)),
        tuple(sign.fault for sign in signs),
        max(signs, key=lambda sign: sign.until_s).until_within_s,
    )


def _until(of: Case, sign: _Sign) -> str:
    if math.isinf(sign.until_s):
        return "to the end of what was looked at"
    return f"for {case.between(sign.from_s, sign.entry.within_s, sign.until_s, sign.until_within_s)}"


def _silent(of: Case) -> Iterator[_Sign]:
    """Components that did not answer their scrapes: paused, stopped or unreachable; killed where they began anew."""
    entries = of.entries()
    for begin in (entry for entry in entries if entry.what.endswith(" does not answer its scrapes")):
        component = begin.what.removesuffix(" does not answer its scrapes")
        until_s, until_within_s = _end(entries, begin, f"{component} answers its scrapes again")
        near_s = _STARTED_WITHIN * max(begin.within_s, 1.0)
        anew = any(
            entry.what == f"{component} is started anew" and begin.at_s - near_s <= entry.at_s <= until_s + near_s
            for entry in entries
        )
        kind = "kill" if anew else "pause"
        again = ", was started again" if of.view.metrics(component, "started_s").empty else ""
        how = (
            f"How {component} ended (a crash, a kill, a deployment) is not in the metrics."
            if anew
            else f"Whether {component} stood still{again}, was cut off or was too busy to answer is not in the metrics."
        )
        what = f"{component} {'was gone and began anew' if anew else 'was silent'} ({kind})"
        yield _Sign(
            component, begin.at_s, until_s, what,
            {"type": kind, "on": component, **_lasted(begin, until_s)}, how, begin, until_within_s,
        )  # fmt: skip


def _lasted(begin: Entry, until_s: float) -> dict[str, object]:
    return {} if math.isinf(until_s) else {"lasted_s": round(until_s - begin.at_s, 1)}


def _without(of: Case) -> Iterator[_Sign]:
    """Replicas that a gateway did not use though they answered: drained, or missing in its configuration."""
    entries = of.entries()
    silent = {sign.component: (sign.from_s, sign.until_s) for sign in _silent(of)}
    for begin in entries:
        gateway, _, rest = begin.what.partition(" ")
        verb = next((verb for verb in ("no longer knows ", "takes out ") if rest.startswith(verb)), None)
        if verb is None:
            continue
        server = rest.removeprefix(verb)
        from_s, until_s = silent.get(server, (math.inf, -math.inf))
        if from_s - 60.0 <= begin.at_s <= until_s + 60.0:
            continue  # it took out who did not answer
        over = (f"{gateway} readmits {server}", f"{gateway} knows {server} again")
        until_s, until_within_s = _end(entries, begin, *over)
        yield _Sign(
            server, begin.at_s, until_s, f"{gateway} did not use {server}, which answered its scrapes (drain)",
            {"type": "drain", "on": server, "options": {"gateways": [gateway]}, **_lasted(begin, until_s)},
            f"Whether {server} was drained, or {gateway}'s configuration or its health check was wrong, is not in the "
            "metrics.", begin, until_within_s,
        )  # fmt: skip


def _end(entries: Sequence[Entry], begin: Entry, *over: str) -> tuple[float, float]:
    """When what began was over, and how uncertain that is; infinite where it was not seen to end."""
    ends = [(entry.at_s, entry.within_s) for entry in entries if entry.what in over and entry.at_s > begin.at_s]
    return min(ends, default=(math.inf, 0.0))
