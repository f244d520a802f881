"""Users are served by gateways that are ready, and by no others."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from harness.evidence.attempts import example_ids
from harness.evidence.view import RunView
from harness.judge.checks import since_fault
from harness.judge.drill import Check, with_arguments
from harness.judge.slo import NotMeasured
from harness.model.verdict import CheckResult, Status

NAME = "only ready gateways serve"
_COLUMNS = ["request_id", "attempt", "start_s", "headers_ms", "http_status"]
_OBJECTIVE = "0 requests at a gateway that is not ready"
#: A sample without an answer speaks of the second before it: as long as the probe waits, and a bit.
_LOOKS_BACK_S = 1.25


@with_arguments
def check(within: str) -> Check:
    """Whether no answer began at a gateway that was not ready, and nobody was sent there from ``within`` on.

    ``within`` is an expression: the time that DNS and its clients may need to notice.
    """
    question = "Is nobody served by a gateway that is not ready, and nobody sent there for longer than DNS needs?"
    return Check(
        "only-ready-gateways-serve",
        NAME,
        question,
        lambda view: _run(view, within),
        frozenset({"load", "metrics", "gateways"}),
        timing=True,
        per_request=True,
    )


def _run(view: RunView, within: str) -> CheckResult:
    try:
        allowed_s = since_fault.limit(view, within).value / 1000
        stretches = {gateway: list(_not_ready(view, gateway)) for gateway in view.gateways}
    except NotMeasured as error:
        return CheckResult(NAME, Status.INCONCLUSIVE, str(error), _OBJECTIVE)
    if not any(end - begin > allowed_s for found in stretches.values() for begin, end in found):
        why = f"no gateway was not ready for longer than {allowed_s:g} s, so nobody could be sent to one"
        return CheckResult(NAME, Status.INCONCLUSIVE, why, _OBJECTIVE)
    served, sent = [], []
    for gateway, found in stretches.items():
        rows = view.requests[view.requests["gateway"].eq(view.address_of(gateway))][_COLUMNS]
        headers = rows["start_s"] + rows["headers_ms"] / 1000
        for begin, end in found:
            served.append(rows[headers.between(begin, end) & rows["http_status"].eq(200)])
            sent.append(rows[rows["start_s"].between(begin + allowed_s, end)])
    return _result(pd.concat(served), pd.concat(sent), len(view.requests), allowed_s)


def _result(served: pd.DataFrame, sent: pd.DataFrame, samples: int, allowed_s: float) -> CheckResult:
    bad = pd.concat([served, sent]).drop_duplicates(["request_id", "attempt"])
    if len(served):
        why = f"{len(served)} answers began at a gateway that called itself not ready"
    elif len(sent):
        why = f"{len(sent)} attempts were sent to a gateway that had not been ready for more than {allowed_s:g} s"
    else:
        why = f"no answer began at a gateway that was not ready, and nobody was sent to one after {allowed_s:g} s"
    return CheckResult(
        NAME,
        Status.FAIL if len(bad) else Status.PASS,
        why,
        _OBJECTIVE,
        float(len(bad)),
        "attempts",
        0.0 - float(len(bad)),
        samples,
        examples=example_ids(bad["request_id"]),
        details={"served": len(served), "sent": len(sent)},
    )


def _not_ready(view: RunView, gateway: str) -> Iterator[tuple[float, float]]:
    """Begin and end of each time in which ``gateway`` was certainly not ready. NotMeasured without any sample."""
    samples = view.metrics(gateway, "ready")
    if samples.empty:
        raise NotMeasured(f"the readiness of {gateway} was not sampled")
    out = samples["value"].eq(0)
    for _, stretch in samples["t_s"][out].groupby((~out).cumsum()[out]):
        begin, end = float(stretch.min()), float(stretch.max()) - _LOOKS_BACK_S
        if end > begin:
            yield begin, end
