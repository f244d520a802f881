"""No series is sampled more slowly than a fifth of the tightest limit that rests on it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pandas as pd
import pytest

from harness.adapters.gateway import METRICS
from harness.evidence.view import RunView
from harness.judge import drill, verdicts
from harness.probes import engine, waves
from harness.probes.alerts import AlertProbe
from harness.probes.dns import DnsProbe
from harness.probes.engine import EngineProbe
from harness.probes.exporter import ExporterProbe
from harness.probes.gateway import GatewayProbe
from harness.probes.readiness import ReadinessProbe
from harness.probes.resources import ResourceProbe
from tests.judge import stories

#: Metric -> how often it is sampled, in seconds.
PERIODS = {
    **dict.fromkeys(engine.WANTED.values(), EngineProbe.period_s),
    **{waves.PREFIX + name: waves.CLOSELY_S for name in ("asked_s", *waves.CLOSELY)},
    **dict.fromkeys(METRICS, GatewayProbe.period_s),
    "ready": ReadinessProbe.period_s,
    **dict.fromkeys(("answer", "answered"), DnsProbe.period_s),
    **dict.fromkeys(("rules_evaluated", "alerts_readable", "up"), AlertProbe.period_s),
    **dict.fromkeys(("rss_bytes", "restarts_total", "oom_kills", "charged_bytes"), ResourceProbe.period_s),
    **{f"own_tokens_{what}_total": ExporterProbe.period_s for what in ("asked", "ended", "got")},
}
#: Read by checks with a limit in seconds for something that is no moment: levels of the baseline, whether it restarted.
LEVELS = {
    "cancels reach the engines": {"running", "kv_usage_ratio", "generation_tokens_total"},
}


class Read(RunView):
    """A view that remembers which series were looked at."""

    seen: set[str]

    def metrics(self, component: str, metric: str, labels: str | None = None, phase: str | None = None) -> pd.DataFrame:
        """As ever."""
        self.seen.add(metric)
        return super().metrics(component, metric, labels, phase)


def limit_s(objective: str) -> float | None:
    """The upper limit in seconds; None for what is no time."""
    found = re.match(r"(?:idle )?[≤<] ([\d.]+) (ms|s)\b", objective)
    return None if found is None else float(found[1]) / (1000 if found[2] == "ms" else 1)


@pytest.mark.parametrize("name", drill.names())
def test_no_series_is_slower_than_a_fifth_of_the_tightest_limit(name: str, tmp_path: Path) -> None:
    """Each check is run, what it looks at compared with what it allows. A drill of any fault measures users alone."""
    folders = [stories.healthy(name, way).write(tmp_path / f"run{way}") for way in stories.ways(name)]
    slow, timed = [], 0
    for folder, check in itertools.product(folders, verdicts.checks(drill.load(name))):
        view = Read(folder)
        view.seen = set()
        limit = limit_s(check.run(view).objective or "")
        if limit is None:
            continue
        timed += bool(view.seen)
        levels = next((metrics for begin, metrics in LEVELS.items() if check.name.startswith(begin)), set())
        slow += [f"{check.name}: {m}" for m in sorted(view.seen - levels) if PERIODS[m] > limit / 5]
    assert not slow
    assert timed > 0 or not drill.load(name).faults
