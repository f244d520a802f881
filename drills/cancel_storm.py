"""Users hang up by the dozen, at every moment of a request's life."""

from harness.judge.checks import (
    cache_released,
    canaries_right,
    cancels_reach_engine,
    full_concurrency,
    no_slope,
    no_wait_for_the_gone,
    queue_and_kv_back,
    steady_state,
    tokens_after_cancel,
)
from harness.judge.drill import Drill, Expected

#: What a user may wait who comes once the others have hung up. Less than 100 ms more is noise, and nobody notices it.
AS_BEFORE = "<= 2 * baseline.ttft_p95_ms + 100 ms"
#: The phases of the scenario in which waves are cancelled.
WAVES = ("queued", "prefill", "early", "late", "half-read", "direct", "repeated", "afterwards")

RUNBOOK = """\
Look at the first red line and work downwards: the upper ones cause the lower ones.

- **cancels reach the engines in …**: replicas go on for clients that have gone. If *direct* is green and the others
  are red, the cancel is lost on the way: `option abortonclose` in the gateway, a proxy that buffers answers or keeps
  the upstream connection open, a load balancer that does not pass a RST on. If *direct* is red too, the engine or its
  API server does not notice. Which moments are red tells more: only *queued* and *prefill* means that somebody finds
  out by writing to the client, which happens with the first token.
- **tokens after the cancels in …**: the same, measured in work. Multiply it by what a token costs.
- **queue and KV cache back after …**: the requests are gone, their places are not. Compare the chart of KV usage with
  that of running requests; restart the replica that does not come down before its cache is full.
- **no leak over repeated**: each wave leaves a bit behind. The details have the growth per wave and replica.
- **full concurrency in afterwards**: slots are lost. Look for requests that are neither running nor waiting nor gone:
  the gateway's current sessions per server against the engine's running requests.
- **no KV block held in the end**: the last word, since a prefix cache can be reset only when nobody holds a block.
- **right answers after each wave**: stop and take the replica out; somebody may be reading somebody else's answer.
- **availability / TTFT of the others**: cancelled work is paid by those who stay. Limit what one user may have in
  flight; keep a queue per class of users.
- **alerts silent in …**: somebody is woken because users hang up. Does the gateway's log count a client's abort as a
  failure (`drillyard_gateway_failures_total`)? HAProxy tells whose doing an end was: `CD` the client's, `SD` the
  replica's, and it may put a cancel down to the replica. Or has something really failed?
- **no page before the first fault**: an alert that fires on a healthy service will be ignored when it matters.
- INCONCLUSIVE with «the moment was not reached»: the machine is too fast or too slow for this scenario. Change
  `demand`, `words` or `lasts` of that wave; nothing was judged that was not reached.
- **end to end / stalls …**: those who were served were served badly. Is what is left too little for the load, does a
  retry come late, does a proxy on the way hold streams back?
- **broken attempts bounded**: answers break off, and only the clients' retries hide it. The phase is named: look for
  restarts, idle time-outs that are shorter than an answer, a proxy that drops connections.
- **no page once recovered**: what came back does not stay well. Something comes on in waves, or the alert is false.
"""

BRIEFING = """\
Since an hour the first word takes longer and longer, although there are not more requests than usual. A mobile app has
been released this morning. The replicas are busy, and nobody knows for whom. Find out, and make room.
"""

DRILL = Drill(
    name="cancel-storm",
    title="Cancel storm: users hang up by the dozen",
    hypothesis=(
        "Whenever users hang up, while they queue, in prefill, early or late in the answer or after they have stopped "
        "reading, and however they do it, the engines stop working for them within half a second. Queue and KV cache "
        "are free again within five, nothing grows from wave to wave, the users who stay notice next to nothing, and "
        "afterwards there is room for as many as before."
    ),
    scenario="cancel-storm",
    checks=(
        steady_state.check("baseline"),
        *(cancels_reach_engine.check(phase) for phase in WAVES),
        *(tokens_after_cancel.check(phase) for phase in WAVES),
        *(queue_and_kv_back.check(phase, within_s=5) for phase in WAVES),
        no_slope.check("repeated"),
        canaries_right.check(),
        full_concurrency.check("queued", "afterwards"),
        no_wait_for_the_gone.check(WAVES, AS_BEFORE),
        steady_state.check("recovery"),
        cache_released.check("quiet"),
    ),
    # Users who hang up are no failure of the service. What a full queue may bring (TTFT, a deaf replica) is left open.
    alerts=tuple(
        Expected(phase, name, fires=False, holds=name == "GatewayDown")
        for phase in WAVES
        for name in ("FailuresHigh", "GatewayDown")
    ),
    runbook=RUNBOOK,
    briefing=BRIEFING,
)
