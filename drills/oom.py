"""Requests that ask for too much, contexts that fill the KV cache, and a replica that the kernel kills for memory."""

from harness.checks import (
    asks_end,
    asks_refused,
    comes_back,
    kill_breaks_visibly,
    kv_pressure,
    limits_named,
    memory_bounded,
    no_hang,
    oom_counted,
    queues_drain,
    recovers_within,
    replicas_stay,
    served_or_shed,
    steady_state,
    warms_up,
)
from harness.drill import Drill, Expected

_OVERSIZED, _LONG, _OOM = "oversized", "long", "oom"

RUNBOOK = """\
Look at the first red line and work downwards: the upper ones cause the lower ones.

- **oversized requests are refused**: *silent success* is the worst: somebody asked for more than there is, got less,
  and was told that all is well. The check names the request: find out who should have refused it. The gateway knows
  bytes and `max_tokens` (`guard.lua`, `body_bytes_max`, `chat_max_tokens`), the engine tokens (`--max-model-len`).
  A 5xx means that something broke on it: read the replica's log at that time.
- **refusals name limit and value**: the refusal is right and helps nobody. Say in the message what the limit is and
  what was asked, or every user opens a ticket.
- **no request of the fault hangs**: something too large for the engine waits in its queue and blocks those behind it.
  No single request may be larger than the KV cache: compare `--max-model-len` with the number of blocks.
- **pressure on the KV cache** / **TTFT with long contexts**: long prompts are not held back. They need a queue and a
  number of their own at the gateway (`long_connections`): so many contexts of the model's length that half of a KV
  cache is left for everybody else. INCONCLUSIVE in `oom-wide`: no KV cache was 95 % full, or nobody was preempted, so
  nothing was shown. Ask for more (`demand`), or look whether the gateways really let the long prompts through.
- **long contexts are served or honestly shed**: some stream was cut, or a refusal lacks `Retry-After`. Look at the
  gateway's `timeout queue` and at the engine's preemptions: a request that is preempted again and again starves.
- **queues drain**: work is left that nobody waits for. Do cancels reach the engine (cancel-storm)?
- **memory of the replicas is bounded**: memory grows with what people send. Look for bodies that are kept, for logs of
  prompts, for a cache on the engine's side without a limit.
- **no replica restarts**: a request has brought a replica down. Find it by its time in the gateway's log, and keep it.
- **the kernel counted the kill**: the process went away and nobody knows why. Without the count of the cgroup
  (`memory.oom_control`, `memory.events`) an OOM kill looks like any crash: vLLM ends with status 0 after it.
- **is ready again** / **first token** / **warm-up**: the restart policy must be `always`; a limit that is too low for
  the start kills it again and again: raise the limit first.
- **kill breaks visibly**: streams of the killed replica ended as if all were well, or were never answered.
- **alerts**: `OutOfMemoryKill` rests on the kernel's count of the whole machine, `QueueSaturated` on the gateways'
  queues. Are their series there?
- **nothing left injected**: a memory limit or a fault outlived its run. `make down` takes the stack with all of it.
- **end to end / stalls …**: those who were served were served badly. Is what is left too little for the load, does a
  retry come late, does a proxy on the way hold streams back?
- **broken attempts bounded**: answers break off, and only the clients' retries hide it. The phase is named: look for
  restarts, idle time-outs that are shorter than an answer, a proxy that drops connections.
- **no page once recovered**: what came back does not stay well. Something comes on in waves, or the alert is false.
"""

BRIEFING = """\
A customer has begun to paste whole documents. Some of their requests fail with messages that they do not understand,
others work and are strangely short. Everybody else says that it has become slow in waves. Then one replica vanishes and
comes back by itself, and nobody can say why. Find out what is allowed, what is said about it, and what killed it.
"""

DRILL = Drill(
    name="oom",
    title="Out of memory: oversized requests, full KV caches, and a replica that the kernel kills",
    hypothesis=(
        "Whatever is too large is refused at once, by the gateway or the engine, in words that name the limit and the "
        "value; no way around the caps is open, and nothing is cut short silently. Long but legal contexts have a "
        "queue and a concurrency of their own: they are served or told when to come again, and ordinary users keep "
        "their objectives. None of it brings a replica down or makes its memory grow. When the kernel kills a replica "
        "for memory, that is known for what it is, the other replica carries the traffic, and the killed one comes "
        "back by itself, warm, once there is memory again."
    ),
    scenario="oom",
    checks=(
        steady_state.check("baseline"),
        asks_refused.check(_OVERSIZED),
        limits_named.check(_OVERSIZED),
        asks_end.check(_OVERSIZED),
        no_hang.check(_OVERSIZED),
        replicas_stay.check(_OVERSIZED),
        steady_state.check("recovery-oversized"),
        served_or_shed.check(_LONG),
        asks_end.check(_LONG),
        kv_pressure.check(_LONG),
        no_hang.check(_LONG),
        replicas_stay.check(_LONG),
        queues_drain.check(_LONG, within_s=10),
        recovers_within.check(_LONG),
        steady_state.check("recovery-long"),
        memory_bounded.check(_OVERSIZED, _LONG),
        oom_counted.check("replica-2", _OOM),
        kill_breaks_visibly.check("replica-2", _OOM),
        no_hang.check(_OOM),
        comes_back.ready("replica-2", _OOM),
        comes_back.first_token("replica-2", _OOM),
        warms_up.check({_OOM: "replica-2"}, within_s=3),
        recovers_within.check(_OOM),
        steady_state.check("rejoined"),
    ),
    alerts=(
        # More long contexts are asked for than may wait, from the first second to the last.
        Expected(_LONG, "QueueSaturated", shows_after_s=2, gone_after_s=5),
        Expected(_LONG, "GatewayDown", fires=False, holds=True),
        Expected(_LONG, "ReplicaDown", fires=False, holds=True),
        Expected(_OOM, "OutOfMemoryKill", shows_after_s=2, gone_after_s=2),
        Expected(_OOM, "ReplicaDown", {"component": "replica-1"}, fires=False, holds=True),
        Expected(_OOM, "GatewayDown", fires=False, holds=True),
    ),
    runbook=RUNBOOK,
    briefing=BRIEFING,
)
