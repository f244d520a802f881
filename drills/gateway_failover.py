"""The active gateway dies, hangs, and loses its replicas; then DNS itself falls silent."""

from harness.judge.checks import (
    dns,
    gateways,
    recovers_within,
    retries_bounded,
    steady_state,
    users,
)
from harness.judge.drill import Check, Drill, Expected
from harness.judge.runbook import runbook

_ACTIVE = "gateway-a"  # DNS prefers it while it is ready
_DEAD, _HUNG, _SPLIT, _NO_DNS = "dead", "hung", "split", "dns-dead"

#: What it may take, made of mechanisms: DNS checks, times out, and its answer is kept for a TTL.
DNS_WITHIN = "dns.ttl_s + dns.check_interval_s + dns.check_timeout_s + 1 s"
USERS_WITHIN = f"{DNS_WITHIN} + 2 s"
#: A gateway learns from its own checks that its replicas are out of reach.
READINESS_WITHIN = "gateway.check_fall * (gateway.check_interval_s + gateway.check_timeout_s)"

RUNBOOK = runbook(
    checks="""\
- **DNS fails over**: DNS still names a gateway that cannot serve. Are its health checks on, do they request `/readyz`
  and not only connect, with a time-out (a hung gateway accepts connections)? Query it: `dig @127.0.0.53 -p 5300
  llm.drillyard.test`.
- **users fail over**: DNS has switched, users have not. Causes: a TTL that is longer than the policy says, a cache on
  the way, clients that keep connections or addresses. Compare the TTL of an answer with `dns.ttl_s` in the report.
- **broken visibly and retried**: a request was lost with the gateway, or counted as answered although it cannot have
  been. Look up its id in the errors. Does the client retry often and long enough to outlast the failover?
- **no hang**: a time limit is missing on the way. With a hung gateway the client's own limit counts.
- **failback**: DNS flaps after the heal, or users notice the switch back. Causes: flapping readiness (`rise`, `fall`),
  or a gateway that reports itself ready before its replicas are.
- **gateway-a is not ready in split**: the gateway answers `/readyz` with 200 although it can reach no replica.
  Readiness must depend on what the gateway can reach (`nbsrv(replicas)`), and the replicas must be checked over the
  links that users' requests take. Checks that are off, or that take another way, look like this.
- **clients use stale DNS**: clients fail while DNS is silent. They should serve stale answers for a while
  (RFC 8767), and query with a short deadline.
- **only ready gateways serve**: users were sent to, or served by, a gateway that reported itself not ready. With both
  gateways down DNS answers at random. A gateway that serves while not ready has the wrong readiness.
- **client retries bounded**: retries multiply. Cap them, add jitter, honour `Retry-After`.
""",
    objectives="""\
- **availability with …** / **availability without DNS** / **TTFT with …**: the failover took longer than the clients'
  retries. Which of DNS, gateway and clients was late? The checks of that phase say.
""",
)

BRIEFING = """\
Some users report answers that break off in the middle, others requests that hang until they give up; for the rest the
service is fine. It comes in waves. Nothing was deployed. Find the component that causes it, route users around it, and
bring it back without any user noticing.
"""


def _of_phase(phase: str, dns_within: str, users_within: str) -> tuple[Check, ...]:
    """What is asked of every way in which the active gateway can fail."""
    return (
        dns.fails_over(_ACTIVE, phase, dns_within),
        users.fail_over(phase, users_within),
        users.broken_and_retried(_ACTIVE, phase),
        users.no_hang(phase),
        dns.fails_back(_ACTIVE, phase),
        recovers_within.check(phase),
        steady_state.check(f"recovery-{phase}"),
    )


DRILL = Drill(
    name="gateway-failover",
    title="Gateway failover: the active gateway dies, hangs, or can reach no replica",
    hypothesis=(
        "When the active gateway dies, hangs, or loses all its replicas, DNS leads users to the other gateway "
        "within its TTL, its check interval, its check time-out and a second (in the last case after the "
        "gateway itself has noticed). Two seconds later users are served at the first attempt. Requests in "
        "flight break visibly and are retried. When the gateway is back, traffic returns to it in one switch "
        "that no user notices. When DNS itself is silent for ten seconds, clients keep using its last answer."
    ),
    scenario="gateway-failover",
    faults={_DEAD: "stop", _HUNG: "pause", _SPLIT: "timeout", _NO_DNS: "pause"},
    checks=(
        steady_state.check("baseline"),
        *_of_phase(_DEAD, DNS_WITHIN, USERS_WITHIN),
        *_of_phase(_HUNG, DNS_WITHIN, USERS_WITHIN),
        gateways.readiness_falls(_ACTIVE, _SPLIT, READINESS_WITHIN),
        *_of_phase(_SPLIT, f"{READINESS_WITHIN} + {DNS_WITHIN}", f"{READINESS_WITHIN} + {USERS_WITHIN}"),
        dns.clients_use_stale_answers(_NO_DNS),
        users.no_hang(_NO_DNS),
        recovers_within.check(_NO_DNS),
        steady_state.check("recovery-dns"),
        gateways.only_ready_serve(DNS_WITHIN),
        retries_bounded.check(),
    ),
    alerts=(
        # A dead gateway refuses the next scrape, a hung one lets it wait for a second; neither is a replica's matter.
        Expected(_DEAD, "GatewayDown", {"component": _ACTIVE}, clear_delay_s=5),
        Expected(_DEAD, "GatewayDown", {"component": "gateway-b"}, fires=False, holds=True, clear_delay_s=5),
        Expected(_DEAD, "ReplicaDown", fires=False, holds=True, clear_delay_s=5),
        Expected(_HUNG, "GatewayDown", {"component": _ACTIVE}, signal_delay_s=1, clear_delay_s=2),
        Expected(_HUNG, "GatewayDown", {"component": "gateway-b"}, fires=False, holds=True, clear_delay_s=2),
        # It is the gateway's own checks that tell of its links: 2 × (1 + 1) s, and ten seconds to put them back.
        Expected(_SPLIT, "ReplicaDown", {"server": "replica-1"}, signal_delay_s=4, clear_delay_s=10),
        Expected(_SPLIT, "ReplicaDown", {"server": "replica-2"}, signal_delay_s=4, clear_delay_s=10),
        Expected(_SPLIT, "GatewayDown", fires=False, holds=True, clear_delay_s=10),
        # Nobody is told that DNS is silent: there is no rule for it. Nobody else may be blamed.
        Expected(_NO_DNS, "GatewayDown", fires=False, holds=True),
        Expected(_NO_DNS, "ReplicaDown", fires=False, holds=True),
        Expected(_NO_DNS, "FailuresHigh", fires=False),
    ),
    runbook=RUNBOOK,
    briefing=BRIEFING,
)
