"""Replicas that came back: how long they were away, and how quick they were then. Nothing without a restart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from markupsafe import Markup

from harness.evidence.attempts import Attempts
from harness.evidence.view import RunView
from harness.judge import sli
from harness.judge.checks import restarts
from harness.judge.checks.fault_window import on_replica
from harness.model.verdict import Verdict
from reports import moments
from reports.charts import Chart, Moment, Series, draw
from reports.panel import number, stretch, table
from reports.panels.timeline import end_of

ORDER, TITLE = 24, "Restart warm-up"
HEAD = ("restart", "ended at", "ready after", "in rotation after", "first answer after", "warm after", "answers")
SPEEDS = ("restart", "what", "baseline", "its first answers", "its later answers", "other replicas meanwhile")
#: Steps of faults and operations with which a replica's process ends, and the one with which it can serve again.
_ENDS, _READY = ("stopping", "killing"), "ready"
_MEDIANS = {"ttft_p50_ms": "TTFT p50", "tps_p50": "TPS p50"}
_READ = (
    "How to read it: all times of a row count from the end of the old process: until the replica was ready, until the "
    "last gateway used it, until its first user had a token, and until the median TTFT of "
    f"{restarts.COLD} answers in a row was usual again."
)
_NOTE = (
    "Usual: at most {limit} ({factor:g} × the baseline's p50, or {slack:g} ms more). First answers: the first {cold} "
    "that were begun once it was ready; all end before the next fault, or its next end. Medians of the answers that "
    "ended well, n is how many."
)


@dataclass(frozen=True)
class Restart:
    """A replica that ended and came back, in seconds since the run's zero; None for what was not seen."""

    replica: str
    where: str  # the phase, or «unexpected»
    ended_s: float
    ready_s: float | None
    in_use_s: float | None  # by the last gateway
    again_s: float = math.inf  # when it ended the next time


def html(view: RunView, verdict: Verdict) -> Markup:
    """A row of times and two of speeds per restart, and every answer of those replicas over time."""
    found = every(view)
    if not found:
        return Markup("")
    usual = _baseline_ms(view)
    limit = None if usual is None else restarts.slow_ms(usual)
    note = _NOTE.format(
        limit="not measured" if limit is None else number(limit, "ms"),
        factor=restarts.FACTOR, slack=restarts.SLACK_MS, cold=restarts.COLD,
    )  # fmt: skip
    return Markup("").join(
        (
            Markup("<p>{}</p>").format(_READ),
            table(HEAD, (_times(view, one, usual) for one in found), "figures"),
            Markup("<h3>How quick its answers were</h3>"),
            table(SPEEDS, (row for one in found for row in _speeds(view, one)), "figures"),
            Markup("<p><small>{}</small></p>").format(note),
            _chart(view, found, limit),
        )
    )


def every(view: RunView) -> list[Restart]:
    """All restarts of a run by time: those that faults and operations report, and those that only supervisors count."""
    expected = [one for replica in view.replicas for one in _expected(view, replica)]
    found = sorted([*expected, *_unexpected(view, expected)], key=lambda one: one.ended_s)
    for place, one in enumerate(found):
        following = (other.ended_s for other in found[place + 1 :] if other.replica == one.replica)
        found[place] = replace(one, again_s=next(following, math.inf))
    return found


def _expected(view: RunView, replica: str) -> Iterator[Restart]:
    steps = [
        (event.t_s, event.data.get("step"), str(event.data.get("phase")))
        for event in view.events("fault_step")
        if event.data.get("on") == replica and event.data.get("step") in (*_ENDS, _READY)
    ]
    for number_, (ended, step, phase) in enumerate(steps):
        if step in _ENDS:
            after = steps[number_ + 1] if number_ + 1 < len(steps) else None
            ready = after[0] if after is not None and after[1] == _READY else None
            yield Restart(replica, phase, ended, ready, _in_use(view, replica, ended, ready))


def _unexpected(view: RunView, expected: Sequence[Restart]) -> Iterator[Restart]:
    """Starts that a supervisor has counted outside of every expected one."""
    for replica in view.replicas:
        counts = view.metrics(replica, "restarts_total")
        for t_s in counts["t_s"][counts["value"].diff().gt(0)]:
            mine = (one for one in expected if one.replica == replica)
            if any(one.ended_s <= t_s <= (math.inf if one.ready_s is None else one.ready_s) for one in mine):
                continue
            away = next((b for b in moments.down(view) if b.name == replica and b.begin_s <= t_s <= b.end_s), None)
            ended, ready = (t_s, None) if away is None else (away.begin_s, away.end_s)
            ready = None if ready is None or math.isinf(ready) else ready
            yield Restart(replica, "unexpected", float(ended), ready, _in_use(view, replica, ended, ready))


def _in_use(view: RunView, replica: str, ended_s: float, ready_s: float | None) -> float | None:
    """When the last gateway that had ejected it used it again; None where none was seen to."""
    until = math.inf if ready_s is None else ready_s
    out = [b.end_s for b in moments.ejections(view) if b.name == replica and b.end_s > ended_s and b.begin_s <= until]
    back = max(out, default=math.inf)
    return None if math.isinf(back) else back


# ── times ──


def _times(view: RunView, one: Restart, usual_ms: float | None) -> tuple[object, ...]:
    answers = _answers(view, one)
    first = _first_token_s(answers)
    return (
        _name(one),
        f"{one.ended_s:.1f} s",
        None if one.ready_s is None else number(one.ready_s - one.ended_s, "s"),
        _rotation(one),
        first if first is None or isinstance(first, str) else number(first - one.ended_s, "s"),
        _warm(one, answers, usual_ms),
        None if answers is None else len(answers),
    )


def _name(one: Restart) -> Markup:
    return stretch(f"{one.replica}, {one.where}", one.ended_s, one.ready_s)


def _rotation(one: Restart) -> str | None:
    """When the gateways used it; «never» where its next end came first."""
    if one.in_use_s is None:
        return None
    return "never" if one.in_use_s > one.again_s else number(one.in_use_s - one.ended_s, "s")


def _answers(view: RunView, one: Restart) -> Attempts | None:
    """The answers that it gave once it was ready; None where it never was."""
    return _of(view, one, one.replica)


def _of(view: RunView, one: Restart, replica: str) -> Attempts | None:
    """Answers of a replica between a restart and the next fault or the restarted one's next end."""
    if one.ready_s is None:
        return None
    rows = restarts.answers_since(view, one.ready_s, replica)
    return rows[rows["end_s"].lt(one.again_s)]


def _first_token_s(answers: Attempts | None) -> float | str | None:
    """When the first user had a first token, in seconds since the run's zero; that no user asked it, in words."""
    if answers is None or answers.empty:
        return None if answers is None else "no answer"
    at = (answers["start_s"] + answers["ttft_ms"] / 1000).min()
    return None if pd.isna(at) else float(at)


def _warm(one: Restart, answers: Attempts | None, usual_ms: float | None) -> str | None:
    if answers is None or usual_ms is None:
        return None
    if len(answers) < restarts.COLD:
        return f"too few answers ({len(answers)})"
    place = restarts.warm_from(answers, usual_ms)
    if place is None:
        return "not seen"
    after_s = float(answers["start_s"].iloc[place]) - one.ended_s
    return f"{number(after_s, 's')} (answer {place + 1})"


# ── speeds ──


def _speeds(view: RunView, one: Restart) -> Iterator[tuple[object, ...]]:
    answers, usual = _answers(view, one), _baseline(view)
    groups: list[Attempts | None] = [usual, None, None, None]
    if answers is not None:
        peers = (_of(view, one, other) for other in view.replicas if other != one.replica)
        others = [rows for rows in peers if rows is not None]
        later = answers[pd.Series(range(len(answers)), answers.index).ge(restarts.COLD)]
        groups = [usual, answers.head(restarts.COLD), later, Attempts.concat(others) if others else None]
    for number_, (name, title) in enumerate(_MEDIANS.items()):
        yield "" if number_ else _name(one), title, *(_median(view, rows, name) for rows in groups)


def _baseline(view: RunView) -> Attempts | None:
    return view.attempts(view.baseline) if view.baseline else None


def _baseline_ms(view: RunView) -> float | None:
    usual = _baseline(view)
    return None if usual is None else sli.find("ttft_p50_ms").measure(usual, view).value


def _median(view: RunView, rows: Attempts | None, name: str) -> str | None:
    if rows is None:
        return None
    found = sli.find(name).measure(rows, view)
    if found.value is None:
        return f"too few (n = {found.samples})"
    return f"{number(found.value, found.unit)} (n = {found.samples:,})"


# ── over time ──


def _chart(view: RunView, found: Sequence[Restart], limit_ms: float | None) -> Markup:
    """The answers that the tables are about, of the replicas that were restarted, and when they were ready again."""
    series = []
    for replica in dict.fromkeys(one.replica for one in found):
        parts = [answers for one in found if one.replica == replica and (answers := _answers(view, one)) is not None]
        usual = on_replica(view, replica)
        parts.append(usual[usual["judged_phase"].eq(view.baseline) & usual["outcome"].eq("ok")])
        rows = Attempts.concat(parts).sort_values("start_s", kind="stable")
        rows = rows[rows["ttft_ms"].notna()]
        times, values = (rows[column].to_numpy(dtype=float) for column in ("start_s", "ttft_ms"))
        series.append(Series(replica, times, values, marks=True))
    ready = [Moment(one.ready_s, "recovered", one.replica) for one in found if one.ready_s is not None]
    note = (
        "each dot is an answer in the baseline or after a restart, by its start; a line where a replica was ready "
        "again; the limit: usual in the middle"
    )
    chart = Chart("warm-up", "Time to first token of the restarted replicas", "ms", series, limit=limit_ms, note=note)
    return draw(chart, view.phases, end_of(view), moments=ready)
