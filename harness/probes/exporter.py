"""What the exporter asks of replicas, and what came of it: its synthetic generations cost tokens, too.

Rows are those of harness/probes/own_tokens.py, with ``by=exporter``; ``synthetic_ok``, the only sign of life that a
deaf replica cannot give; and ``synthetic_ttft_ms`` where it was given. The exporter asks each replica every other
second; it is asked four times a second, so that what a drill waits for after its load is soon read.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.model.topology import Component
from harness.probes import exposition
from harness.probes.base import ProbeSet, Row
from harness.probes.page import NoAnswer, Page

_TOKENS = "drillyard_synthetic_tokens_"
_OK, _TTFT = "drillyard_synthetic_ok", "drillyard_synthetic_ttft_seconds"
_WANTED = (*(f"{_TOKENS}{what}_total" for what in ("asked", "ended", "got")), _OK, _TTFT)


class ExporterProbe:
    """The stack's exporter."""

    name, period_s = "exporter", 0.25

    def __init__(self, exporter: Component) -> None:
        self._page = Page(exporter.url(path="/metrics?" + "&".join(f"name[]={name}" for name in _WANTED)))

    async def sample(self) -> Sequence[Row]:
        """No rows when the exporter does not answer within a second: that is not a 0."""
        try:
            answer = await self._page.get()
        except NoAnswer:
            return []
        return parse(answer.text) if answer.status == 200 else []

    def close(self) -> None:
        """End its connection."""
        self._page.close()


def parse(text: str) -> list[Row]:
    """The rows in a metrics page."""
    return [_row(*sample) for sample in exposition.samples(text, _WANTED)]


def _row(name: str, labels: dict[str, str], value: float) -> Row:
    replica = labels["replica"]
    if name == _OK:
        return Row(replica, "synthetic_ok", "", value)
    if name == _TTFT:
        return Row(replica, "synthetic_ttft_ms", "", 1000 * value)
    return Row(replica, f"own_tokens_{name.removeprefix(_TOKENS)}", "by=exporter", value)


PROBES = ProbeSet(("exporter",), lambda scene, exporters: map(ExporterProbe, exporters))
