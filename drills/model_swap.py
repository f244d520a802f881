"""Another model is rolled out, canary first, judged on the same questions as the stable one, promoted or taken back."""

from harness.judge.checks import (
    candidate_judged,
    exposure_bounded,
    no_hang,
    one_version,
    rollback_in_time,
    rollout_ends,
    steady_state,
    versions_agree,
)
from harness.judge.drill import Drill, Expected

_SWAP, _AFTER = "swap", "after"

RUNBOOK = """\
Look at the first red line and work downwards: the upper ones cause the lower ones.

- **rollout ends as it should**: a good candidate was stopped, or a poor one was not. The reason names the gate and
  its numbers; `rollout.json` in the run folder holds every answer that it was judged on. *start*: the engine gave
  no token in time; its error is in the reason, the rest in `logs/replica-2.log` (weights that are not whole, a KV
  cache that is too small, no memory); one that only needs longer wants a longer `start_within`. *broken off*: the
  candidate was good where it was tried, and another replica does not start with it. *version*: the replica
  serves something else than it was told to (a tag that moved, an image from a cache, a volume with old weights).
  *quality*: look at which questions went wrong, and whether temperature 0 and the same chat template were used.
  *ttft*, *rate*: compare the medians; a replica that has just been started is cold, more questions make up for
  that.
- **candidate judged before it gets more**: somebody moves weights who does not ask the gates, or the gates were
  told more than was answered.
- **exposure bounded**: more users met the candidate than its weight says. Least-connections balancing sends the
  next request to whatever is idle, a canary of 10 % too; weights only count under much load. Draw by lot, or
  balance round robin while a canary runs.
- **versions agree**: an answer carries a version that its replica should not serve. Trust the engine's answer, not
  the gateway's header: something between them is not what you think it is. With *only … were due*, the canary got
  no users, and whatever was decided rests on probes alone.
- **rollback in time**: the candidate still gets traffic. Set its weight to 0 at every gateway first and restore it
  later: an engine takes a minute to start, users should not wait for that.
- **zero failed requests**: a replica was ended under its streams, or took users before it could serve them. The
  steps in the timeline (`drained`, `stopping`, `started`, `ready`, `first_token`, `stage`) show which.
- **one version in the end**, **steady state**: half a rollout is left: a replica that was not told, or is out of use.
  `make status`, then `make down`.
- **alerts silent in swap**: users or a gateway suffer from a restart that was in order. `ReplicaDown` may come.
- **no hang**: a time limit is missing on the way.
- **replica counters and client records agree**, **conservation**: the records are not complete; a defect of the
  harness.
- **nothing left injected**: a replica may still serve the candidate, or have another weight. `make doctor FIX=1`
  puts it back.
- **end to end / stalls …**: those who were served were served badly. Is what is left too little for the load, does a
  retry come late, does a proxy on the way hold streams back?
- **broken attempts bounded**: answers break off, and only the clients' retries hide it. The phase is named: look for
  restarts, idle time-outs that are shorter than an answer, a proxy that drops connections.
- **no page once recovered**: what came back does not stay well. Something comes on in waves, or the alert is false.
"""

BRIEFING = """\
A new version of the model is ready; product management wants it out today. It has passed all offline tests. Some users
will complain that answers are odd, or slow, or that nothing has changed at all. Bring it out without anybody losing a
request, find out whether it deserves all the traffic before it has it, and be back within seconds if it does not.
"""

DRILL = Drill(
    name="model-swap",
    title="Model swap: a new version, canary first, promoted or rolled back",
    hypothesis=(
        "A new version of the model gets a tenth of the users, not more, until it has shown on the same questions "
        "as the stable one that it answers right and is not slower. Then it gets half, then all, without one "
        "failed request. One that answers wrongly, or slowly, is stopped by the gate that is there for it while it "
        "is a canary, and five seconds later every user is with the stable version again. Which version has "
        "answered is known from the engine's own answers."
    ),
    scenario="model-swap",
    checks=(
        steady_state.check("baseline"),
        rollout_ends.check(_SWAP),
        candidate_judged.check(_SWAP),
        exposure_bounded.check(_SWAP),
        versions_agree.check(_SWAP),
        rollback_in_time.check(_SWAP, within_s=5),
        no_hang.check(_SWAP),
        one_version.check(_AFTER),
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
