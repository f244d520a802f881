"""Whether every sample can have been taken: a value that its metric can have, at a time of the run, and once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from harness.evidence.view import RunView
from harness.judge.finding import EVERYTHING, Finding, bad, good
from harness.judge.sampled import expected_gaps

#: What is 1 for yes or 0 for no.
_FLAGS = (
    "up", "ready", "answered", "answer", "server_up", "synthetic_ok", "running_state", "rules_evaluated",
    "alerts_readable", "fault_present",
)  # fmt: skip
#: Shares of a whole, 0–1. Others that are called ratio may be above 1.
_SHARES = ("kv_usage_ratio", "wave_kv_usage_ratio", "steal_ratio")
#: What only grows while the process that counts it lives.
_COUNTERS = ("_total", "_bucket", "_sum", "_count")
_LARGEST = np.finfo(float).max
_SERIES = ["component", "metric", "labels"]
#: What is sampled after the last event: the readings that are waited for (8 s), and probes that are told to end (10 s).
_READ_ON_S = 20.0


def possible_samples(view: RunView) -> Iterator[Finding]:
    """Can every sample have been taken?"""
    name, frame = "samples plausible", view.samples
    for what, wrong in _wrong(view, frame):
        if wrong.any():
            first = frame[wrong].iloc[0]
            why = f"{first['metric']} of {first['component']} was {first['value']:g} at {first['t_s']:.1f} s"
            found = bad(name, f"{int(wrong.sum())} of {len(frame)} samples are impossible: {what}: {why}", EVERYTHING)
            yield replace(found, window=(float(first["t_s"]), float(first["t_s"]))) if what is _LATE else found
            return
    contradiction = next(_answered_by_nobody(view), None)
    if contradiction:
        yield bad(name, contradiction, EVERYTHING)
    else:
        yield good(name, f"all {len(frame)} samples are plausible", samples=len(frame))


_LATE = "after the end of the run"


def _wrong(view: RunView, frame: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Sentences, and the samples that each is true of."""
    value, time = frame["value"].astype(float), frame["t_s"].astype(float)
    yield "not finite, or negative", ~value.between(0, _LARGEST) | ~time.between(-_LARGEST, _LARGEST)
    yield "neither 0 nor 1", frame["metric"].isin(_FLAGS) & ~value.isin((0.0, 1.0))
    yield "more than the whole", frame["metric"].isin(_SHARES) & value.gt(1)
    yield "before the start of the run", time.lt(0)
    yield _LATE, time.gt(max((event.t_s for event in view.events()), default=np.inf) + _READ_ON_S)
    yield "taken twice at one time", frame.duplicated([*_SERIES, "t_s"])
    if view.target is None:  # behind one address of somebody else's there may be several, each with its own counters
        yield "a counter fell without a requested restart", _fell(view, frame)


def _fell(view: RunView, frame: pd.DataFrame) -> pd.Series:
    """Marks samples of counters that are below the one before, but where a fault has restarted who counts."""
    counters = frame[frame["metric"].str.endswith(_COUNTERS)]
    each = counters.groupby(_SERIES, sort=False)
    fell = counters.assign(before_s=each["t_s"].shift())[each["value"].diff().lt(0)]
    for component in fell["component"].unique():
        for begin, end in expected_gaps(view, str(component), "restarts"):
            over = fell["before_s"].le(end) & fell["t_s"].ge(begin)
            fell = fell[~(fell["component"].eq(component) & over)]
    return pd.Series(frame.index.isin(fell.index), index=frame.index)


def _answered_by_nobody(view: RunView) -> Iterator[str]:
    """Where a gateway that gave answers was never ready, or never saw the replica up that gave them."""
    if view.target is not None:
        return
    rows = view.requests[view.requests["outcome"].eq("ok")]
    replica = rows["replica"].where(rows["replica"].notna(), rows["gateway_replica"])
    for gateway in view.gateways:
        over = rows["gateway"].eq(view.address_of(gateway))
        if over.any() and _never(view, gateway, "ready"):
            yield f"{gateway} gave {int(over.sum())} answers, but was never ready"
        for one in view.replicas:
            mine = over & replica.eq(one)
            if mine.any() and _never(view, gateway, "server_up", f"server={one}"):
                yield f"{one} gave {int(mine.sum())} answers over {gateway}, which never saw it up"


def _never(view: RunView, component: str, metric: str, labels: str | None = None) -> bool:
    values = view.metrics(component, metric, labels)["value"]
    return len(values) > 0 and bool(values.eq(0).all())
