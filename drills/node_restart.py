"""Replicas are restarted: in order one after the other, then by SIGKILL; and one goes deaf."""

from harness.judge.checks import (
    gateways,
    recovers_within,
    restarts,
    steady_state,
    users,
)
from harness.judge.drill import Drill, Expected
from harness.judge.runbook import runbook
from harness.model.topology import GatewayPolicy

_FIRST, _SECOND, _KILL, _DEAF = "restart-1", "restart-2", "kill", "deaf"
_POLICY = GatewayPolicy()
#: What the mechanisms promise, and the gap between two samples of a gateway's counters.
_GONE_S = _POLICY.silent_noticed_within_s + 0.25
#: The same, and a second for the probes that look at it.
_NOTICED_S = _POLICY.deaf_noticed_within_s + 1
#: Until a synthetic generation has been asked for, and waited for in vain; or asked for again, and answered.
_ASKED_S = _POLICY.readiness_period_s + _POLICY.readiness_deadline_s

RUNBOOK = runbook(
    checks="""\
- **drain breaks nothing**: streams were cut although the replica was ejected before it was stopped. Either a gateway
  kept sending (sticky sessions, a second gateway that was forgotten, clients that know the replica's address), or
  SIGTERM came before the last stream had ended. Compare the drain's length with your longest answers, and look at the
  steps in the timeline: `drained`, `stopping`, `stopped`, `started`, `ready`, `first_token`. vLLM's own
  `--shutdown-timeout` does not help: what it aborts ends as HTTP 200 with `finish_reason: "abort"`.
- **replica-… is ready again**: look at the replica's log. Is it started at all (restart policy)? Does it load from a
  slow disk, compile, download? `make logs` shows what it waits for.
- **first token** / **warm-up**: a replica reports ready before it is fast. Send it a few requests before it rejoins,
  let the gateway raise its weight slowly, or keep compiled graphs. The cold prefix cache is shown as a figure; users of
  long shared prompts feel it most.
- **no hang**: a time limit is missing on the way. The gateway must give up before the client does.
- **kill breaks visibly**: *ended as if all were well* is the worst case: users read half an answer and believe it. Find
  the component that closed the stream cleanly. *Of other replicas*: the gateway cut streams of other replicas. *Never
  answered*: clients do not retry broken streams, or have no retries left.
- **gateways eject replica-1**: health checks are too slow, or off; or the restart policy had it listening again
  before the next check.
- **gateways eject replica-2** (deaf): no component requests a token. `/health` of vLLM is 200 while its engine
  hangs. Does the exporter's readiness agent run, and do the gateways use it (`agent-check`)? Their statistics page has
  a column for it.
- **impact window bounded**: the hung replica was ejected too late, or readmitted while still hung. Requests that were
  already on it wait for their client's limit. How long users wait for a first token is a decision: make it on purpose.
- **gateways readmit …**: a healed replica is not used again. Look at the gateways' view with `make status`: a drain
  that was never rolled back looks just like it.
""",
    alerts="""\
  In `deaf` `ReplicaDeaf` needs the exporter, `ReplicaDown` for the server the gateways' own view. One that fires in a
  planned restart says that the restart reached users.
""",
    objectives="""\
- **availability over the rolling restart** / **availability with a killed replica**: one replica cannot carry the load,
  or both were away at once. Never restart the second before the first has answered its first user.
""",
)

BRIEFING = """\
Every node needs a new kernel today, and users must not notice. Meanwhile one replica dies by itself. Later a user
reports that about every second answer never begins, yet all dashboards are green. Restart all replicas, find out what
is wrong with the green ones, and tell users what to expect.
"""

DRILL = Drill(
    name="node-restart",
    title="Node restart: in order, by force, and a replica that is deaf",
    hypothesis=(
        "Replicas can be restarted one after the other without a single broken stream and with 99 % "
        "availability, because the gateways drain them first. A killed replica takes only its own streams "
        "with it; their clients see that, retry and are answered, and the gateways eject it within three "
        "seconds. A restarted replica is soon as fast as before. A replica whose engine hangs behind a "
        "healthy `/health` is noticed by a readiness agent that requests a token, and ejected before many "
        "users have met it."
    ),
    scenario="node-restart",
    faults={_FIRST: "restart", _SECOND: "restart", _KILL: "kill", _DEAF: "deaf"},
    checks=(
        steady_state.check("baseline"),
        restarts.drain_breaks_nothing("replica-1", _FIRST),
        restarts.ready("replica-1", _FIRST),
        restarts.first_token("replica-1", _FIRST),
        users.no_hang(_FIRST),
        steady_state.check("rejoined-1"),
        restarts.drain_breaks_nothing("replica-2", _SECOND),
        restarts.ready("replica-2", _SECOND),
        restarts.first_token("replica-2", _SECOND),
        users.no_hang(_SECOND),
        steady_state.check("rejoined-2"),
        restarts.kill_breaks_visibly("replica-1", _KILL),
        gateways.eject("replica-1", _KILL, within_s=_GONE_S),
        restarts.ready("replica-1", _KILL),
        restarts.first_token("replica-1", _KILL),
        users.no_hang(_KILL),
        recovers_within.check(_KILL),
        steady_state.check("rejoined-after-kill"),
        restarts.warms_up({_FIRST: "replica-1", _SECOND: "replica-2", _KILL: "replica-1"}, within_s=3),
        gateways.eject("replica-2", _DEAF, within_s=_NOTICED_S),
        users.impact_bounded(_DEAF, within_s=_NOTICED_S),
        users.no_hang(_DEAF),
        gateways.readmit("replica-2", _DEAF, within_s=10),
        recovers_within.check(_DEAF),
        steady_state.check("hearing-again"),
    ),
    alerts=(
        # What is restarted in order may be missed, but not by users.
        Expected(_FIRST, "FailuresHigh", fires=False, clear_delay_s=10),
        Expected(_SECOND, "FailuresHigh", fires=False, clear_delay_s=10),
        # A dead replica refuses the next scrape; ten seconds until the gateways, too, have put it back.
        Expected(_KILL, "ReplicaDown", {"component": "replica-1"}, clear_delay_s=10),
        Expected(_KILL, "ReplicaDown", {"component": "replica-2"}, fires=False, holds=True),
        Expected(_KILL, "GatewayDown", fires=False, holds=True),
        # A deaf one answers its scrapes: it is the synthetic generation that tells, and the gateways by what they do.
        Expected(_DEAF, "ReplicaDeaf", {"replica": "replica-2"}, signal_delay_s=_ASKED_S, clear_delay_s=_ASKED_S),
        Expected(_DEAF, "ReplicaDown", {"server": "replica-2"}, signal_delay_s=_NOTICED_S, clear_delay_s=10),
        Expected(_DEAF, "ReplicaDown", {"component": "replica-2"}, fires=False, holds=True),
        Expected(_DEAF, "ReplicaDeaf", {"replica": "replica-1"}, fires=False, holds=True),
        Expected(_DEAF, "GatewayDown", fires=False, holds=True),
    ),
    runbook=RUNBOOK,
    briefing=BRIEFING,
)
