"""Action items from what failed: the type, what to do, and the drill that fails until it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.judge import failure_modes
from reports.incident.case import Case
from reports.incident.scenario import Again
from reports.incident.times import Times
from reports.panel import anchor

#: What an alert that came later than this after the beginning cost.
DETECTED_WITHIN_S = 60.0


@dataclass(frozen=True)
class Action:
    """``id`` is stable: owner and date that people wrote hang on it. ``type``: prevent, detect, mitigate or process."""

    id: str
    type: str
    what: str
    verified_by: str


def actions(case: Case, times: Times) -> Sequence[Action]:
    """In order: checks that failed, alerts that were silent or late, the trigger itself."""
    found = [*_of_checks(case), *_of_alerts(case, times), *_of_trigger(case, times)]
    return list({action.id: action for action in found}.values())


def _drill(case: Case) -> str:
    types = [str(fault.get("type")) for fault in case.trigger().faults]
    scenarios = sorted({use.scenario for use in failure_modes.used()[0] if use.type in types})
    known = f"; shipped drills with it: {', '.join(scenarios)}" if scenarios else ""
    return f"{_command(case)}{known}"


def _command(case: Case) -> str:
    """What runs the report's scenario; where it has none, that no drill is known."""
    again = case.again()
    return again.short_command if isinstance(again, Again) else "no drill knows it"


def _of_checks(case: Case) -> Iterator[Action]:
    for red in case.reds():
        kind = "detect" if "alert" in red.id else "mitigate" if any(w in red.id for w in _MITIGATES) else "prevent"
        where = f" in {red.phase}" if red.phase and red.phase not in red.name else ""
        verified = f"the check «{red.name}» of {_command(case)}"
        id_ = ".".join(anchor("action", part) for part in (red.id or red.name, red.phase) if part)
        yield Action(id_, kind, f"mend: {red.name}{where}", verified)


#: Checks about how soon the service is well again, by parts of their ids.
_MITIGATES = ("recover", "readmit", "eject", "fail", "warm", "ready")


def _of_alerts(case: Case, times: Times) -> Iterator[Action]:
    began, detected = times.at("began"), times.at("detected")
    if began.at_s is None:
        return
    if detected.at_s is None:
        yield Action("action.no-alert", "detect", "no alert fired: have one that does", _drill(case))
    elif detected.at_s - began.at_s > DETECTED_WITHIN_S:
        late = f"the first alert came {detected.at_s - began.at_s:.0f} s after the beginning: have one that is sooner"
        yield Action("action.late-alert", "detect", late, _drill(case))


def _of_trigger(case: Case, times: Times) -> Iterator[Action]:
    if case.reds() or not times.outside:
        return
    for number, fault in enumerate(case.trigger().faults, 1):
        what = f"keep the objectives while this happens: {fault.get('type')} on {fault.get('on')}"
        yield Action(f"action.trigger.{number}", "mitigate", what, _drill(case))
    if not case.trigger().faults:
        what = "find out what set it off, and record it next time"
        yield Action("action.trigger", "process", what, "no drill knows it")
