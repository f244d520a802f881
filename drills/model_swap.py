"""Another model is rolled out, canary first, judged on the stable one's questions, promoted or rolled back."""

from harness.judge.checks import rollout, steady_state, users
from harness.judge.drill import Drill, Expected
from harness.judge.runbook import runbook

_SWAP, _AFTER = "swap", "after"

RUNBOOK = runbook(
    checks="""\
- **rollout ends as it should**: a good candidate was stopped, or a bad one was not. The reason names the gate and its
  numbers; `rollout.json` in the run folder holds every answer that decided. *start*: the engine gave no token in time.
  Its error is in the reason, the rest in `logs/replica-2.log` (incomplete weights, a KV cache that is too small, no
  memory); one that only needs longer wants a longer `start_within`. *aborted*: the candidate was good where it was
  tried, and another replica does not start with it. *version*: the replica serves another version than requested (a
  tag that moved, a cached image, a volume with old weights). *quality*: look at which questions went wrong, and whether
  temperature 0 and the same chat template were used. *ttft*, *rate*: compare the medians. A replica that has just
  started is cold; more questions make up for that.
- **candidate judged before it gets more**: something changes weights without asking the gates, or the gates saw more
  answers than were recorded.
- **exposure bounded**: more users met the candidate than its weight says. Least-connections balancing sends the next
  request to an idle server, also to a canary of 10 %; weights only count under much load. Choose by lot, or balance
  round robin while a canary runs.
- **versions agree**: an answer carries a version that its replica should not serve. Trust the engine's answer, not the
  gateway's header: a component between them is not what you think it is. With *only … were due* the canary got no
  users, and the decision rests on probes alone.
- **rollback in time**: the candidate still gets traffic. Set its weight to 0 at every gateway first, and restore it
  later: an engine takes a minute to start, and users should not wait for that.
- **no hang**: a time limit is missing on the way.
- **one version in the end**: half a rollout is left: a replica was left out, or is not in rotation. `make status`, then
  `make down`.
""",
    alerts="""\
  Here users or a gateway suffer from a planned restart; `ReplicaDown` may fire.
""",
    objectives="""\
- **zero failed requests**: a replica was stopped under its streams, or got users before it could serve them. The steps
  in the timeline (`drained`, `stopping`, `started`, `ready`, `first_token`, `stage`) show which.
""",
)

BRIEFING = """\
A new version of the model is ready, and product management wants it out today. It has passed all offline tests. Some
users will complain about odd or slow answers, or that nothing has changed. Roll it out without losing a request, decide
whether it deserves all traffic before it has it, and be back within seconds if it does not.
"""

DRILL = Drill(
    name="model-swap",
    title="Model swap: a new version, canary first, promoted or rolled back",
    hypothesis=(
        "A new model version gets a tenth of the users, not more, until it has answered the same questions as "
        "the stable version correctly and is not slower. Then it gets half, then all, without one failed "
        "request. A version that answers wrongly or slowly is stopped by the right gate while it is a canary. "
        "Five seconds later every user is on the stable version again. The engine's own answers say which "
        "version answered."
    ),
    scenario="model-swap",
    faults={_SWAP: "swap"},
    checks=(
        steady_state.check("baseline"),
        rollout.ends_as_expected(_SWAP),
        rollout.candidate_judged(_SWAP),
        rollout.exposure_bounded(_SWAP),
        rollout.versions_agree(_SWAP),
        rollout.rollback_in_time(_SWAP, within_s=5),
        users.no_hang(_SWAP),
        rollout.one_version(_AFTER),
        steady_state.check(_AFTER),
    ),
    # A replica that is restarted in order may be missed (ReplicaDown), but not by users, and no gateway is.
    alerts=(
        Expected(_SWAP, "FailuresHigh", fires=False),
        Expected(_SWAP, "FailuresHighSlow", fires=False),
        Expected(_SWAP, "GatewayDown", fires=False, holds=True),
    ),
    runbook=RUNBOOK,
    briefing=BRIEFING,
)
