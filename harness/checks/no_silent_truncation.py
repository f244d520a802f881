"""No answer that was cut off passes for a whole one."""

from __future__ import annotations

import pandas as pd

from harness.drill import Check
from harness.verdict import CheckResult, Status
from harness.view import RunView

NAME = "no silent truncation"
_WHOLE = ("stop", "length", "tool_calls", "content_filter", "function_call")


def check() -> Check:
    """The check, over the whole run; a safety check."""
    return Check(NAME, "Is every stream that ended well really whole?", _run, safety=True, timing=False)


def _run(view: RunView) -> CheckResult:
    ok = view.requests[view.requests["outcome"].eq("ok")]
    if ok.empty:
        return CheckResult(NAME, Status.INCONCLUSIVE, "no request ended ok", "0 truncated", samples=0)
    cut = _cut(ok)
    bad = cut[cut.notna()]
    kinds = bad.value_counts()
    why = (
        f"all {len(ok)} streams that ended ok are whole"
        if bad.empty
        else f"{len(bad)} of {len(ok)} streams that ended ok are not whole; {kinds.iloc[0]} × {kinds.index[0]}"
    )
    return CheckResult(
        NAME,
        Status.FAIL if len(bad) else Status.PASS,
        why,
        objective="0 truncated",
        measured=float(len(bad)),
        unit="answers",
        margin=0.0 - float(len(bad)),
        samples=len(ok),
        examples=tuple(str(i) for i in ok["request_id"][bad.index].head(5)),
        details={
            **{str(k): int(v) for k, v in kinds.items()},
            # Engines put several tokens into one event when they are behind: suspicious, no proof.
            "fewer_events_than_tokens": int((ok["content_events"] < ok["output_tokens"] - 1).sum()),
        },
    )


def _cut(ok: pd.DataFrame) -> pd.Series:
    """Why each answer is not whole, the first reason found; null when it is."""
    wrong = pd.Series(None, index=ok.index, dtype=object)

    def mark(where: pd.Series, text: str) -> None:
        wrong[where & wrong.isna()] = text

    mark(ok["http_status"].ne(200), "ok without HTTP status 200")
    mark(ok["finish_reason"].isna(), "ok without a finish_reason")
    mark(~ok["finish_reason"].isin(_WHOLE), "a finish_reason that is none of a whole answer")
    mark(ok["output_tokens"].isna(), "ok without usage")
    mark(ok["ttft_ms"].isna() & ok["output_tokens"].gt(0), "tokens in usage, but none was seen")
    mark(ok["content_events"].eq(0) & ok["output_tokens"].gt(1), "tokens in usage, but no event with content")
    mark(ok["content_events"].gt(ok["output_tokens"]), "more events with content than tokens in usage")
    mark(_shorter_than_right(ok), "an eval answer that ends too early")
    return wrong


def _shorter_than_right(ok: pd.DataFrame) -> pd.Series:
    """Wrong answers that stopped by themselves, shorter than the right one that others got to the same prompt.

    From the same version: what another one says, a canary perhaps, is not this one's answer cut off.
    """
    of = ok.assign(version=ok["served_version"].fillna("").astype(str), right=ok["answer_correct"].eq(True))
    whole = of["answer_chars"].where(of["right"]).groupby([of["prompt_hash"], of["version"]]).transform("max")
    wrong = ok["answer_correct"].eq(False) & ok["finish_reason"].eq("stop")
    return wrong & ok["answer_chars"].lt(whole)
