"""The links behind the gateways time out: first those of one replica, then all of them."""

from harness.checks import (
    failures_hidden,
    gateway_puts_back,
    gateway_takes_out,
    honest_errors,
    no_abandoned_generation,
    no_hang,
    recovers_within,
    retries_bounded,
    steady_state,
    upstream_amplification,
)
from harness.drill import Drill, Expected

_ONE, _ALL = "one-replica", "all-replicas"
_SLOW, _SILENT = "slow-link", "silent-link"  # of the scenario for external targets

RUNBOOK = """\
Look at the first red line and work downwards: the upper ones cause the lower ones.

- **failures hidden** / **availability with one bad replica**: the gateways do not retry on another replica, or give
  up too early. Look at `retry-on`, `option redispatch` and `retries` in the gateway's configuration, and at the
  termination states in its access log (`logs/gateway-a.log`). With both replicas needed for the load, one alone may
  be too slow: compare the chart of running and waiting requests.
- **TTFT with one bad replica**: users wait for more than one gateway time-out. Is the replica taken out at all? Does a
  retry go to the same replica again?
- **gateways take replica-2 out** / **put … back**: the health checks do not cross the link that users cross, are too
  slow (interval × fall, interval × rise) or off. `make status` and the gateway's statistics page show its view.
- **honest errors**: some answer is the gateway's built-in page, lacks the request id or `Retry-After`, or there was
  none at all. The check names request ids: look for them in the access log.
- **no hang**: a time limit is missing on the way. The gateway must give up before the client does.
- **no silent truncation**: an answer that was cut off looked whole. Stop: users read wrong answers. Compare the
  stream's `finish_reason` and usage with the events that arrived.
- **client retries bounded** / **upstream amplification**: retries multiply. Cap them, add jitter, honour `Retry-After`;
  the gateway must not retry what its client retries as often.
- **no abandoned generation**: replicas work for clients that have gone. Does the cancel cross gateway and link
  (`option abortonclose`)? Are requests retried while the first try still runs?
- **recovery**: after the heal something keeps failing: a replica not put back, a breaker that stays open, pooled
  connections that are dead, a queue full of requests that nobody waits for.
- **nothing left injected**: a fault outlived its run. `make down` takes the stack and every
  fault with it: do that before anything else.
- **replica counters and client records agree**: a replica made tokens that nobody asked for (work for clients that have
  gone, somebody else on the stack), or clients got some that it never counted. The sentence has both numbers.
- **alerts fire in …**: users suffer and nobody is told. Look at Prometheus' page of rules: is the rule there, does its
  series exist, is Alertmanager reached? **alerts silent in …**: the wrong people are woken; the check names what fired.
  **alerts clear after …**: something is still bad, or the rule looks back for too long.
- **no page before the first fault**: an alert fires on a healthy service; it will be ignored when it matters.
- **conservation**: the records are not complete, so no other number can be trusted. This is a defect of the harness.
- **end to end / stalls …**: those who were served were served badly. Is what is left too little for the load, does a
  retry come late, does a proxy on the way hold streams back?
- **broken attempts bounded**: answers break off, and only the clients' retries hide it. The phase is named: look for
  restarts, idle time-outs that are shorter than an answer, a proxy that drops connections.
- **no page once recovered**: what came back does not stay well. Something comes on in waves, or the alert is false.
"""

BRIEFING = """\
Since some minutes users say that the first word of an answer sometimes takes several seconds. Shortly afterwards the
service answers nobody. Nothing was deployed. Find out what is wrong, tell the users, and bring it back.
"""

DRILL = Drill(
    name="timeout-spike",
    title="Timeout spike: upstream links stop answering",
    hypothesis=(
        "When the links of one replica get slower than the gateways' time-out, users notice a few slow answers at "
        "most: requests are retried on the other replica, and the bad one is out within five seconds and back "
        "within ten of its healing. When all links time out, every user is told so in time, in words that a "
        "program can read; nobody hangs, no answer is silently cut, retries stay bounded, the replicas do not work "
        "for nobody, and ten seconds after the heal all is as before."
    ),
    scenario="timeout-spike",
    checks=(
        steady_state.check("baseline"),
        gateway_takes_out.check("replica-2", _ONE, within_s=5),
        failures_hidden.check(_ONE),
        no_hang.check(_ONE),
        upstream_amplification.check(_ONE),
        gateway_puts_back.check("replica-2", _ONE, within_s=10),
        recovers_within.check(_ONE),
        steady_state.check("recovery-one"),
        honest_errors.check(_ALL),
        no_hang.check(_ALL),
        upstream_amplification.check(_ALL),
        # Until the checks have taken every replica out (2 × (1 + 1) s) and the last first-byte time-out (3 s) is over.
        no_abandoned_generation.check(_ALL, within_s=10),
        recovers_within.check(_ALL),
        steady_state.check("recovery-all"),
        retries_bounded.check(),
    ),
    external=(
        no_hang.check(_SLOW),
        recovers_within.check(_SLOW),
        no_hang.check(_SILENT),
        recovers_within.check(_SILENT),
        steady_state.check("recovery-silent"),
    ),
    alerts=(
        # The gateways' checks take it out after 2 × (1 + 1) s, and put it back within ten seconds of the heal.
        Expected(_ONE, "ReplicaDown", {"server": "replica-2"}, shows_after_s=4, gone_after_s=10),
        Expected(_ONE, "ReplicaDown", {"server": "replica-1"}, fires=False, holds=True, gone_after_s=10),
        # FailuresHigh may fire or not: what was streaming on the bad replica breaks, and may be five requests of 50.
        Expected(_ONE, "GatewayDown", fires=False, holds=True, gone_after_s=10),
        Expected(_ALL, "ReplicaDown", {"server": "replica-1"}, shows_after_s=4, gone_after_s=10),
        Expected(_ALL, "ReplicaDown", {"server": "replica-2"}, shows_after_s=4, gone_after_s=10),
        # From then on, at the latest, every request fails at once; two seconds more until enough have (FAILURES_MIN).
        Expected(_ALL, "FailuresHigh", shows_after_s=6, gone_after_s=10),
        Expected(_ALL, "GatewayDown", fires=False, holds=True, gone_after_s=10),
    ),
    runbook=RUNBOOK,
    briefing=BRIEFING,
)
