"""Users hang up by the dozen, at every moment of a request's life."""

from harness.judge.checks import cancels, no_slope, steady_state
from harness.judge.drill import Drill, Expected
from harness.judge.runbook import runbook

#: What a user may wait who comes once the others have hung up. Less than 100 ms more is noise, and nobody notices it.
AS_BEFORE = "<= 2 * baseline.ttft_p95_ms + 100 ms"
#: The phases of the scenario in which waves are cancelled.
WAVES = ("queued", "prefill", "early", "late", "half-read", "direct", "repeated", "afterwards")

RUNBOOK = runbook(
    checks="""\
- **cancels reach the engines in …**: replicas keep working for clients that have hung up. If *direct* is green and the
  others are red, the cancel is lost on the way: `option abortonclose` in the gateway, a proxy that buffers answers or
  keeps the upstream connection open, a load balancer that drops a RST. If *direct* is red too, the engine or its API
  server does not notice. Which moments are red tells more: only *queued* and *prefill* means that some component
  notices by writing to the client, which happens with the first token. INCONCLUSIVE with «the moment was not reached»:
  the machine is too fast or too slow for this scenario. Change `demand`, `words` or `lasts` of that wave. A moment that
  was not reached was not judged.
- **tokens after the cancels in …**: the same, measured in work. Multiply it by the cost of a token.
- **queue and KV cache back after …**: the requests are gone, their slots and blocks are not. Compare the chart of KV
  usage with that of running requests. Restart the replica that does not recover before its cache is full.
- **no leak over repeated**: each wave leaves something behind. The details have the growth per wave and replica.
- **right answers after each wave**: stop and eject the replica. A user may be reading another user's answer.
- **full concurrency in afterwards**: slots are lost. Look for requests that are neither running nor waiting nor ended:
  the gateway's current sessions per server against the engine's running requests.
- **TTFT unaffected by mass cancellation**: after the cancels users wait longer than in the baseline: cancelled requests
  still take room.
- **no KV block held in the end**: a replica could not reset its prefix cache, because some request still holds a block.
""",
    alerts="""\
  Here an alert may page because users hang up. Does the gateway's log count a client's abort as a failure
  (`drillyard_gateway_failures_total`)? HAProxy logs who ended a session: `CD` the client, `SD` the replica; it may
  blame the replica for a cancel. Or did something really fail?
""",
    objectives="""\
- **availability of the others** / **TTFT of the others**: the other users pay for cancelled work. Limit what one user
  may have in flight; keep a queue per class of users.
""",
)

BRIEFING = """\
For an hour time to first token has been growing, with no more requests than usual. A mobile app was released this
morning. The replicas are busy, and it is unclear for whom. Find out, and free the capacity.
"""

DRILL = Drill(
    name="cancel-storm",
    title="Cancel storm: users hang up by the dozen",
    hypothesis=(
        "When users hang up, while queued, in prefill, early or late in the answer or after they stopped "
        "reading, by FIN or by RST, the engines stop working for them within half a second. Queue and KV "
        "cache are free again within five seconds, and nothing grows from wave to wave. Other users notice "
        "next to nothing. Afterwards there is room for as many streams as before."
    ),
    scenario="cancel-storm",
    faults=dict.fromkeys(WAVES, "cancel_wave"),
    checks=(
        steady_state.check("baseline"),
        *(cancels.reach_engine(phase) for phase in WAVES),
        *(cancels.no_more_tokens(phase) for phase in WAVES),
        *(cancels.queue_and_kv_back(phase, within_s=5) for phase in WAVES),
        no_slope.check("repeated"),
        cancels.canaries_right(),
        cancels.full_concurrency("queued", "afterwards"),
        cancels.ttft_unaffected(WAVES, AS_BEFORE),
        steady_state.check("recovery"),
        cancels.cache_released("quiet"),
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
