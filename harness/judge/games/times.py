"""When things happened in an inject, from time stamps alone: what was injected, seen, said, mitigated.

Events of a game, besides those of a run (harness/evidence/record.py):

``inject_begun`` {inject}, ``inject_proven`` {inject}, ``inject_over`` {inject} (healed, mitigated or not),
``replay_begun`` / ``replay_over`` {inject} (the trigger, again), ``slo`` {name, kept} (the first look, and each
change), ``ops`` {verb} (players have done something to the stack), ``said`` {what} (one of ``SAYS``; of a diagnosis
also component, mechanism, since_s, a moment of the run), ``hint`` {inject, hint} (its number). These only tell the
story: ``inject_due``, ``inject_confirmed``, ``inject_delayed``, ``inject_skipped``, ``inject_unproven``,
``inject_stopped``, ``inject_failed``, ``users_hit``, ``mitigated``, ``replay_unproven``, ``replay_failed``, ``decoy``
{inject, …}, ``ops_failed`` / ``ops_refused`` (as ``ops``), ``facilitator_note`` {text}, ``game_stopped``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.evidence.record import Event

#: They end a game whatever players do.
CUTS = frozenset({"interrupted", "aborted", "stop_condition", "game_stopped"})


@dataclass(frozen=True)
class Times:
    """Of one inject, in seconds since the run's zero; None for what did not happen.

    ``detected_s`` is the alert or the players' word, whichever came first. ``cut_s`` is when the inject or the whole
    game was stopped before the inject was over.
    """

    begun_s: float
    over_s: float | None
    cut_s: float | None
    proven_s: float | None
    alerted_s: float | None
    found_s: float | None
    acknowledged_s: float | None

    @property
    def detected_s(self) -> float | None:
        """The earlier of alert and word."""
        return min((at for at in (self.alerted_s, self.found_s) if at is not None), default=None)

    def during(self, events: Iterable[Event], kind: str) -> Iterator[Event]:
        """The events of that kind while the inject went on."""
        for event in events:
            if event.kind == kind and self.begun_s <= event.t_s and (self.over_s is None or event.t_s <= self.over_s):
                yield event


def of(inject: str, events: Sequence[Event]) -> Times | None:
    """The times of the inject; None for one that never began."""
    begun_s = first(events, "inject_begun", lambda data: data["inject"] == inject)
    if begun_s is None:
        return None
    over_s = first(events, "inject_over", lambda data: data["inject"] == inject)
    proven_s = first(events, "inject_proven", lambda data: data["inject"] == inject)
    cut_s = next((event.t_s for event in events if _cuts(event, inject) and begun_s <= event.t_s), None)
    if cut_s is not None and over_s is not None and over_s < cut_s:
        cut_s = None
    frame = Times(begun_s, over_s, cut_s, proven_s, None, None, None)
    said = list(frame.during(events, "said"))
    return Times(
        begun_s,
        over_s,
        cut_s,
        proven_s,
        alerted_s=first(frame.during(events, "alert_fired"), "alert_fired"),
        found_s=first(said, "said", lambda data: data["what"] == "found"),
        acknowledged_s=first(said, "said", lambda data: data["what"] == "acknowledged"),
    )


def _cuts(event: Event, inject: str) -> bool:
    return event.kind in CUTS or (event.kind == "inject_stopped" and event.data["inject"] == inject)


def first(
    events: Iterable[Event], kind: str, chosen: Callable[[dict[str, Any]], bool] = lambda data: True
) -> float | None:
    """When the first event of that kind came for which ``chosen`` says so of its data; None without any."""
    return min((event.t_s for event in events if event.kind == kind and chosen(event.data)), default=None)
