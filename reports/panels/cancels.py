"""The cancel ledger: what became of every stream and request that was cancelled. Nothing where none was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup

from harness.evidence.attempts import Attempts, tally
from harness.evidence.view import RunView
from harness.judge import aftermath
from harness.judge.aftermath import Aftermath, Between
from harness.model.artifacts.waves import ARTIFACT as WAVES
from harness.model.artifacts.waves import Stream, Wave
from harness.model.verdict import Verdict
from reports.panel import stretch, table

ORDER, TITLE = 23, "Cancel ledger"
HEAD = (
    "wave", "streams", "cut: no answer", "cut: queue or prefill", "cut: decode", "over before", "unaccounted for",
    "running + waiting", "gateways let go after", "engines let go after", "tokens thrown away", "tokens made after",
    "still held",
)  # fmt: skip
#: Of a request that its user's client cut; ``cancelled_drain``: the end of the load did.
_BY_USERS, _BY_DRAIN = "cancelled_intended", "cancelled_drain"
_READ = (
    "How to read it: a row is a wave, each of its streams is counted in one of the five columns after «streams», and "
    "the times are from its last cancel until nothing of it was left."
)
_NOTE = (
    "No answer: cut before the answer's headers. Queue or prefill: after them and without a token; a client cannot "
    "tell these two apart, so «running + waiting» is what all engines said at the last look before the cancel, of "
    "everybody's requests. Decode: with a token. Tokens thrown away had reached the client; those made after, and "
    "what is still held at the last look, are what other users cannot explain: their share is taken at its most, with "
    "two synthetic generations per replica, so that much may hide behind a 0. A range is from one look to the next. "
    "«—»: not asked, or not sampled for single requests."
)


def html(view: RunView, verdict: Verdict) -> Markup:
    """The sums in a sentence, then a row per wave, and one per phase in which users cancelled requests."""
    waves, cut = view.artifact(WAVES), _cut_by_clients(view)
    if not waves and not cut["outcome"].eq(_BY_USERS).any():
        return Markup("")
    rows = [*(_wave(view, wave) for wave in waves), *_users(cut)]
    return Markup("<p><strong>{}</strong> {}</p>{}<p><small>{}</small></p>").format(
        _sums(waves, cut), _READ, table(HEAD, rows, "figures"), _NOTE
    )


def _sums(waves: Sequence[Wave], cut: Attempts) -> str:
    streams = [stream for wave in waves for stream in wave.streams]
    ends = {ending: sum(s.cut and s.ending == ending for s in streams) for ending in ("fin", "rst")}
    kinds = tally(cut["outcome"])
    users = f"; users cancelled {kinds.get(_BY_USERS, 0):,} attempts" if kinds.get(_BY_USERS, 0) else ""
    drained = f"; the end of the load cut {kinds.get(_BY_DRAIN, 0):,}" if kinds.get(_BY_DRAIN, 0) else ""
    if not waves:
        return f"No waves{users}{drained}."
    lost = sum(_state(stream) == _UNACCOUNTED for stream in streams)
    return (
        f"{len(streams):,} streams in {len(waves):,} {'wave' if len(waves) == 1 else 'waves'}: "
        f"{sum(s.cut for s in streams):,} cancelled ({ends['fin']:,} by FIN, {ends['rst']:,} by RST), "
        f"{sum(_state(s) == _OVER for s in streams):,} over before, {lost:,} unaccounted for{users}{drained}."
    )


# ── waves ──

_NO_ANSWER, _NO_TOKEN, _DECODE, _OVER, _UNACCOUNTED = range(5)


def _state(stream: Stream) -> int:
    """Which of the five columns a stream is in: where it was when it was cancelled, as its client knew."""
    if stream.ended is not None:
        return _OVER
    if stream.cancelled_s is None:
        return _UNACCOUNTED
    if stream.first_token_s is not None:
        return _DECODE
    return _NO_ANSWER if stream.status is None else _NO_TOKEN


def _wave(view: RunView, wave: Wave) -> tuple[object, ...]:
    states = [_state(stream) for stream in wave.streams]
    found = _Found.of(view, wave)
    return (
        _name(wave),
        len(wave.streams),
        *(states.count(state) for state in range(5)),
        _before(view, wave),
        _let_go(view, wave),
        found.latest(lambda one: one.work_back_s, _seconds),
        f"{sum(stream.tokens for stream in wave.streams if stream.cut):,}",
        found.made(),
        found.left(),
    )


def _name(wave: Wave) -> Markup:
    missed = Markup(' <small title="{}">moment missed</small>').format(wave.why) if not wave.reached else Markup("")
    return stretch(f"{wave.phase} {wave.number}", wave.began_s, wave.watched_until_s or wave.cancelled_s) + missed


@dataclass(frozen=True)
class _Found:
    """What was left of a wave in the replicas; one that could not be looked at well enough is None."""

    ones: tuple[Aftermath | None, ...]

    @classmethod
    def of(cls, view: RunView, wave: Wave) -> _Found:
        return cls(tuple(_after(view, wave, replica) for replica in view.replicas))

    @property
    def known(self) -> list[Aftermath]:
        """Those of all replicas, or none: a sum without one of them would be too small."""
        return [] if None in self.ones else [one for one in self.ones if one is not None]

    def latest(self, of: Callable[[Aftermath], Between], say: Callable[[Between], str]) -> str | None:
        return say(_last(of(one) for one in self.known)) if self.known else None

    def made(self) -> str | None:
        """Tokens of all replicas, at least and at most."""
        least, most = (
            sum(max(0.0, value) for value in values)
            for values in ((one.tokens.least for one in self.known), (one.tokens.most for one in self.known))
        )
        if not self.known:
            return None
        return f"{least:.0f}" if round(least) == round(most) else f"{least:.0f} to {most:.0f}"

    def left(self) -> str | None:
        return f"{sum(max(0.0, one.work_left) for one in self.known):.0f}" if self.known else None


def _after(view: RunView, wave: Wave, replica: str) -> Aftermath | None:
    if wave.cancelled_s is None:
        return None
    try:
        return aftermath.after(view, wave, replica)
    except aftermath.Unknown:
        return None


def _let_go(view: RunView, wave: Wave) -> str | None:
    """The gateways; «—» where the wave went past them."""
    if not {stream.entrypoint for stream in wave.streams} & set(view.gateways):
        return "—"
    if wave.cancelled_s is None:
        return None
    try:
        return _seconds(_last(aftermath.let_go_s(view, wave, gateway) for gateway in view.gateways))
    except aftermath.Unknown:
        return None


def _last(found: Iterable[Between]) -> Between:
    """When the last of several was done."""
    all_ = list(found)
    return Between(max(one.least for one in all_), max(one.most for one in all_))


def _seconds(found: Between) -> str:
    if math.isinf(found.most):
        return f"> {found.least:.2f} s"
    return f"≤ {found.most:.2f} s" if found.least < 0.005 else f"{found.least:.2f}–{found.most:.2f} s"


def _before(view: RunView, wave: Wave) -> str | None:
    """What ran and waited in all engines together at the last look before the cancel."""
    if wave.cancelled_s is None:
        return None
    counts = [[_at(view, replica, metric, wave) for replica in view.replicas] for metric in ("running", "waiting")]
    if any(value is None for values in counts for value in values):
        return None
    running, waiting = (sum(value for value in values if value is not None) for values in counts)
    return f"{running:.0f} + {waiting:.0f}"


def _at(view: RunView, replica: str, metric: str, wave: Wave) -> float | None:
    samples = view.metrics(replica, f"wave_{metric}")
    samples = samples[samples["t_s"].between(wave.began_s, wave.cancelled_s, inclusive="left")]
    return None if samples.empty else float(samples["value"].iloc[-1])


# ── users ──


def _cut_by_clients(view: RunView) -> Attempts:
    """All attempts that their own client ended, at a user's will or with the load."""
    return view.requests[view.requests["outcome"].isin([_BY_USERS, _BY_DRAIN])]


def _users(cut: Attempts) -> Iterator[tuple[object, ...]]:
    """A row per phase and kind; what gateways and engines did for single requests is not sampled closely enough."""
    if cut.empty:
        return
    rows = cut[["judged_phase", "outcome", "headers_ms", "ttft_ms", "content_events"]].astype(
        {"judged_phase": object, "outcome": object}
    )
    for (phase, outcome), part in rows.groupby(["judged_phase", "outcome"], dropna=False, sort=False):
        who = "users" if outcome == _BY_USERS else "end of the load"
        where = "of no phase" if pd.isna(phase) else f"in {phase}"
        token = part["ttft_ms"].notna()
        answer = part["headers_ms"].notna() | token
        thrown = part["content_events"].dropna()
        yield (
            f"{who} {where}", len(part), int((~answer).sum()), int((answer & ~token).sum()), int(token.sum()), 0, 0,
            "—", "—", "—", None if thrown.empty else f"{int(thrown.sum()):,}", "—", "—",
        )  # fmt: skip
