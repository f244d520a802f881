"""What the exporter asks of replicas, four times a second: its synthetic generations cost tokens, too."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families

from harness.probes.base import Row
from stack.topology import Component

_PREFIX = "drillyard_synthetic_tokens_"


class ExporterProbe:
    """The stack's exporter. Rows are those of harness/probes/own_tokens.py."""

    name, period_s = "exporter", 0.25

    def __init__(self, exporter: Component) -> None:
        self._url = exporter.url(path="/metrics")
        self._client = httpx.AsyncClient(timeout=1.0, verify=False, trust_env=False)

    async def sample(self) -> Sequence[Row]:
        """No rows when the exporter does not answer within a second: that is not a 0."""
        try:
            response = await self._client.get(self._url)
        except httpx.HTTPError:
            return []
        return parse(response.text) if response.status_code == 200 else []


def parse(text: str) -> list[Row]:
    """The rows in a metrics page; only wanted lines are parsed."""
    lines = [line for line in text.splitlines() if line.startswith(_PREFIX)]
    return [
        Row(sample.labels["replica"], f"own_tokens_{sample.name.removeprefix(_PREFIX)}", "by=exporter", sample.value)
        for family in text_string_to_metric_families("\n".join(lines) + "\n")
        for sample in family.samples
        if sample.name.endswith("_total")
    ]
