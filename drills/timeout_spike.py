"""The links behind the gateways time out: first those of one replica, then all of them."""

from harness.judge.checks import (
    gateways,
    recovers_within,
    resources,
    retries_bounded,
    steady_state,
    users,
)
from harness.judge.drill import Drill, Expected
from harness.judge.runbook import runbook

_ONE, _ALL = "one-replica", "all-replicas"
_SLOW, _SILENT = "slow-link", "silent-link"  # of the scenario for external targets

RUNBOOK = runbook(
    checks="""\
- **gateways eject replica-2** / **gateways readmit replica-2**: the health checks do not cross the link that users
  cross, are too slow (interval × fall, interval × rise) or off. `make status` and the gateway's statistics page show
  its view.
- **failures hidden**: the gateways do not retry on another replica, or give up too early. Look at `retry-on`, `option
  redispatch` and `retries` in the gateway's configuration, and at the termination states in its access log
  (`logs/gateway-a.log`).
- **no hang**: a time limit is missing on the way. The gateway must give up before the client does.
- **client retries bounded** / **upstream amplification**: retries multiply. Cap them, add jitter, honour `Retry-After`;
  the gateway must not retry as often as its client does.
- **honest errors**: some answer is the gateway's built-in page, lacks the request id or `Retry-After`, or there was
  none at all. The check names request ids: look them up in the access log.
- **no abandoned generation**: replicas work for clients that have gone. Does the cancel cross gateway and link
  (`option abortonclose`)? Are requests retried while the first attempt still runs?
""",
    objectives="""\
- **availability with one bad replica**: failures are not hidden (above). If the load needs both replicas, one alone may
  be too slow: compare the chart of running and waiting requests.
- **TTFT with one bad replica**: users wait for more than one gateway time-out. Is the replica ejected at all? Does a
  retry go to the same replica again?
""",
)

BRIEFING = """\
For some minutes users have reported that the first word of an answer sometimes takes several seconds. Shortly
afterwards the service answers no request at all. Nothing was deployed. Find out what is wrong, inform the users, and
bring it back.
"""

DRILL = Drill(
    name="timeout-spike",
    title="Timeout spike: upstream links stop answering",
    hypothesis=(
        "When the links of one replica become slower than the gateways' time-out, users notice a few slow "
        "answers at most: requests are retried on the other replica, and the bad one is ejected within five "
        "seconds and readmitted within ten of its heal. When all links time out, every user gets an error in "
        "time, in a form that a program can read. Nothing hangs, no answer is silently truncated, retries "
        "stay bounded, and the replicas do not work for clients that have gone. Ten seconds after the heal "
        "the service is as before."
    ),
    scenario="timeout-spike",
    faults={_ONE: "latency", _ALL: "timeout"},
    checks=(
        steady_state.check("baseline"),
        gateways.eject("replica-2", _ONE, within_s=5),
        users.failures_hidden(_ONE),
        users.no_hang(_ONE),
        gateways.amplification_bounded(_ONE),
        gateways.readmit("replica-2", _ONE, within_s=10),
        recovers_within.check(_ONE),
        steady_state.check("recovery-one"),
        users.honest_errors(_ALL),
        users.no_hang(_ALL),
        gateways.amplification_bounded(_ALL),
        # Until the checks have taken every replica out (2 × (1 + 1) s) and the last first-byte time-out (3 s) is over.
        resources.no_abandoned_generation(_ALL, within_s=10),
        recovers_within.check(_ALL),
        steady_state.check("recovery-all"),
        retries_bounded.check(),
    ),
    external=(
        users.no_hang(_SLOW),
        recovers_within.check(_SLOW),
        steady_state.check("recovery-slow"),
        users.no_hang(_SILENT),
        recovers_within.check(_SILENT),
        steady_state.check("recovery-silent"),
    ),
    alerts=(
        # The gateways' checks take it out after 2 × (1 + 1) s, and put it back within ten seconds of the heal.
        Expected(_ONE, "ReplicaDown", {"server": "replica-2"}, signal_delay_s=4, clear_delay_s=10),
        Expected(_ONE, "ReplicaDown", {"server": "replica-1"}, fires=False, holds=True, clear_delay_s=10),
        # FailuresHigh may fire or not: what was streaming on the bad replica breaks, and may be five requests of 50.
        Expected(_ONE, "GatewayDown", fires=False, holds=True, clear_delay_s=10),
        Expected(_ALL, "ReplicaDown", {"server": "replica-1"}, signal_delay_s=4, clear_delay_s=10),
        Expected(_ALL, "ReplicaDown", {"server": "replica-2"}, signal_delay_s=4, clear_delay_s=10),
        # From then on, at the latest, every request fails at once; two seconds more until enough have (FAILURES_MIN).
        Expected(_ALL, "FailuresHigh", signal_delay_s=6, clear_delay_s=10),
        Expected(_ALL, "GatewayDown", fires=False, holds=True, clear_delay_s=10),
    ),
    runbook=RUNBOOK,
    briefing=BRIEFING,
)
