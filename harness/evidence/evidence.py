"""What was seen of a service, wherever it is recorded. A run folder is one such place (``RunView``)."""

from __future__ import annotations

from typing import Protocol

import pandas as pd

from harness.evidence.attempts import Attempts
from harness.evidence.phases import PhaseSpan
from harness.evidence.record import Event


class Evidence(Protocol):
    """Spans, series, events with alerts among them, and requests if there are any.

    All times are seconds since one zero. What needs more than this, such as a plan, takes a ``RunView``.
    """

    @property
    def phases(self) -> tuple[PhaseSpan, ...]:
        """The stretches of the timeline in order of their start; none where nothing divides it."""

    @property
    def components(self) -> tuple[str, ...]:
        """Names of what there are series of, sorted."""

    @property
    def requests(self) -> Attempts | None:
        """All attempts of all requests; None where no client recorded them, which is not the same as none made."""

    def phase(self, name: str) -> PhaseSpan | None:
        """The span called ``name``; None when there is none."""

    def metrics_of(self, component: str) -> tuple[str, ...]:
        """Names of the series of ``component``, sorted."""

    def metrics(self, component: str, metric: str, labels: str | None = None, phase: str | None = None) -> pd.DataFrame:
        """Samples of one series by time, columns of ``record.METRIC_COLUMNS``, in the unit that its name ends with.

        ``labels`` are all that a sample must carry ("server=replica-1"). With ``phase`` only those between its start
        and its end. Empty when there are none.
        """

    def events(self, kind: str | None = None, phase: str | None = None) -> tuple[Event, ...]:
        """Events in order, of one kind and one phase when asked for. Alerts are the kinds ``alert_before``,
        ``alert_fired`` and ``alert_cleared``, as Alertmanager delivered them.
        """
