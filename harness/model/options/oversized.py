"""Options of the workload ``oversized``."""

from __future__ import annotations

from pydantic import Field

from harness.model.scenario import Seconds, Strict


class Options(Strict):
    """The asks begin ``every`` so often; each may take ``deadline``."""

    every: Seconds = 0.5
    deadline: Seconds = Field(default=15.0, gt=0)
