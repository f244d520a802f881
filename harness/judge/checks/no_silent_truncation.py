"""No answer that was cut off passes for a whole one.

Our own engines account for every token, and give one answer to one prompt: usage and events must match, and no answer
may be shorter than the right one. Other servers may leave usage out, not count reasoning tokens, send more events than
tokens, or answer the same prompt differently each time: there a stream with finish reason and ``[DONE]`` is whole, and
the check notes what it did not compare.
"""

from __future__ import annotations

import pandas as pd

from harness.evidence.attempts import Rows, example_ids
from harness.evidence.view import RunView
from harness.judge.drill import Check
from harness.model.stream import COMPLETE_REASONS, GIVEN_UP_REASONS
from harness.model.verdict import CheckResult, Status

NAME = "no silent truncation"


def check() -> Check:
    """The check, over the whole run; a safety check."""
    return Check(
        "no-silent-truncation", NAME, "Is every stream that ended well really whole?", _run, safety=True, timing=False
    )


def _run(view: RunView) -> CheckResult:
    ok = view.requests[view.requests["outcome"].eq("ok")]
    if ok.empty:
        return CheckResult(NAME, Status.INCONCLUSIVE, "no request ended ok", "0 truncated", samples=0)
    ours, taught = view.target is None, [one.name for one in view.scenario.load.cohorts if one.right]
    short, known = _shorter_than_right(ok), ok["cohort"].isin(taught) & ours
    compared = (_of_our_engines(ok) if ours else {}) | {_TOO_SHORT: short & known}
    not_compared = ({} if ours else _of_our_engines(ok)) | {_TOO_SHORT: short & ~known}
    cut = _first(ok, _unended(ok) | compared)
    bad = cut[cut.notna()]
    kinds = bad.value_counts()
    notes = {text: int(where.sum()) for text, where in not_compared.items() if where.any()}
    why = (
        f"all {len(ok)} streams that ended ok are whole"
        if bad.empty
        else f"{len(bad)} of {len(ok)} streams that ended ok are not whole; {kinds.iloc[0]} × {kinds.index[0]}"
    )
    if notes:
        why += "; not compared: " + ", ".join(f"{count} × {text}" for text, count in notes.items())
    return CheckResult(
        NAME,
        Status.FAIL if len(bad) else Status.PASS,
        why,
        objective="0 truncated",
        measured=float(len(bad)),
        unit="answers",
        margin=0.0 - float(len(bad)),
        samples=len(ok),
        examples=example_ids(ok["request_id"][bad.index]),
        details={
            **{str(k): int(v) for k, v in kinds.items()},
            **{f"not compared: {text}": count for text, count in notes.items()},
            # Engines put several tokens into one event when they are behind: suspicious, no proof.
            "fewer_events_than_tokens": int((ok["content_events"] < ok["output_tokens"] - 1).sum()),
        },
    )


def _first(ok: Rows, reasons: dict[str, pd.Series]) -> pd.Series:
    """Why each answer is not whole, the first reason that holds; null when it is."""
    wrong = pd.Series(None, index=ok.index, dtype=object)
    for text, where in ((text, where) for text, where in reasons.items() if where.any()):
        wrong[where & wrong.isna()] = text
    return wrong


def _unended(ok: Rows) -> dict[str, pd.Series]:
    """Answers without the end that the API promises."""
    return {
        "ok without HTTP status 200": ok["http_status"].ne(200),
        "ok without a finish_reason": ok["finish_reason"].isna(),
        "a finish_reason of an answer that its server gave up": ok["finish_reason"].isin(GIVEN_UP_REASONS),
    }


def _of_our_engines(ok: Rows) -> dict[str, pd.Series]:
    """Answers whose usage and events do not match, or whose finish reason vLLM gives to no complete answer."""
    streamed = ok["content_events"].notna()
    return {
        "a finish_reason that is none of a whole answer": ok["finish_reason"].notna()
        & ~ok["finish_reason"].isin(COMPLETE_REASONS),
        "ok without usage": ok["output_tokens"].isna(),
        "tokens in usage, but none was seen": streamed & ok["ttft_ms"].isna() & ok["output_tokens"].gt(0),
        "tokens in usage, but no event with content": ok["content_events"].eq(0) & ok["output_tokens"].gt(1),
        "more events with content than tokens in usage": ok["content_events"].gt(ok["output_tokens"]),
    }


_TOO_SHORT = "an eval answer that ends too early"


def _shorter_than_right(ok: Rows) -> pd.Series:
    """Wrong answers that stopped by themselves, shorter than the right one that others got to the same prompt.

    From the same version: what another one says, a canary perhaps, is not this one's answer cut off.
    """
    wrong = ok["answer_correct"].eq(False) & ok["finish_reason"].eq("stop")
    if not wrong.any():
        return wrong
    version, right = ok["served_version"].fillna("").astype(str), ok["answer_correct"].eq(True)
    whole = ok["answer_chars"].where(right).groupby([ok["prompt_hash"], version]).transform("max")
    return wrong & ok["answer_chars"].lt(whole)
