"""Requests that ask for too much, contexts that fill the KV cache, and a replica that the kernel kills for memory."""

from harness.judge.checks import (
    probe_requests,
    recovers_within,
    resources,
    restarts,
    steady_state,
    users,
)
from harness.judge.drill import Drill, Expected
from harness.judge.runbook import runbook

_OVERSIZED, _LONG, _OOM = "oversized", "long", "oom"

RUNBOOK = runbook(
    checks="""\
- **oversized requests are refused**: *silent success* is the worst case: a user requested too much, got less, and no
  error. The check names the request: find the layer that should have refused it. The gateway knows bytes and
  `max_tokens` (`guard.lua`, `body_bytes_max`, `chat_max_tokens`), the engine tokens (`--max-model-len`). A 5xx means
  that something broke on it: read the replica's log at that time.
- **refusals name limit and value**: the refusal is right and helps no user. Put the limit and the requested value into
  the message, or every user opens a ticket.
- **no request of the fault hangs** / **no hang**: a request too large for the engine waits in its queue and blocks
  those behind it. No single request may be larger than the KV cache: compare `--max-model-len` with the number of
  blocks.
- **no replica restarts**: a request brought a replica down. Find it by its time in the gateway's log, and keep it.
- **long contexts are served or honestly shed**: a stream was cut, or a refusal lacks `Retry-After`. Look at the
  gateway's `timeout queue` and at the engine's preemptions: a request that is preempted again and again starves.
- **pressure on the KV cache**: long prompts are not limited. They need their own queue and concurrency at the gateway
  (`long_connections`): so many contexts of the model's length that half of a KV cache stays free for other users.
  INCONCLUSIVE in `oom-wide`: no KV cache was 95 % full, or nothing was preempted, so nothing was shown. Raise `demand`,
  or check that the gateways really let the long prompts through.
- **queues drain**: work is left that no client waits for. Do cancels reach the engine (cancel-storm)?
- **memory of the replicas is bounded**: memory grows with users' input. Look for bodies that are kept, for logs of
  prompts, for an engine cache without a limit.
- **the kernel counted the kill**: the process vanished without a known cause. Without the count of the cgroup
  (`memory.oom_control`, `memory.events`) an OOM kill looks like any crash: vLLM exits with status 0 after it.
- **kill breaks visibly**: streams of the killed replica ended as if all were well, or were never answered.
- **replica-… is ready again** / **first token** / **warm-up**: the restart policy must be `always`. A limit that is too
  low for the start kills the replica again and again: raise the limit first.
""",
    alerts="""\
  `OutOfMemoryKill` rests on the kernel's count of the whole machine, `QueueSaturated` on the gateways' queues.
""",
    objectives="""\
- **availability with …** / **TTFT with …**: other users pay for large requests, or for the replica that was killed.
  Give long prompts a queue of their own (above); one replica alone may be too slow for the load.
""",
)

BRIEFING = """\
A customer has started to paste whole documents. Some of their requests fail with messages that they do not understand,
others succeed and are strangely short. All other users report slowness in waves. Then one replica vanishes and comes
back by itself, without a known cause. Find out what is allowed, what users are told about it, and what killed the
replica.
"""

DRILL = Drill(
    name="oom",
    title="Out of memory: oversized requests, full KV caches, and a replica that the kernel kills",
    hypothesis=(
        "Every request that is too large is refused at once, by the gateway or the engine, and the message "
        "names the limit and the value. No way around the caps is open, and nothing is silently truncated. "
        "Long but legal contexts have their own queue and concurrency: they are served, or shed with "
        "Retry-After, and ordinary users keep their objectives. No replica restarts or grows because of it. A "
        "replica that the kernel kills for memory is recognised as such, the other replica carries the "
        "traffic, and the killed one comes back by itself, warm, once there is memory again."
    ),
    scenario="oom",
    faults={_OVERSIZED: "oversized", _LONG: "long_contexts", _OOM: "oom"},
    checks=(
        steady_state.check("baseline"),
        probe_requests.oversized_refused(_OVERSIZED),
        probe_requests.limits_named(_OVERSIZED),
        probe_requests.all_end(_OVERSIZED),
        users.no_hang(_OVERSIZED),
        resources.replicas_stay(_OVERSIZED),
        steady_state.check("recovery-oversized"),
        probe_requests.served_or_shed(_LONG),
        probe_requests.all_end(_LONG),
        resources.kv_pressure(_LONG),
        users.no_hang(_LONG),
        resources.replicas_stay(_LONG),
        resources.queues_drain(_LONG, within_s=10),
        recovers_within.check(_LONG),
        steady_state.check("recovery-long"),
        resources.memory_bounded(_OVERSIZED, _LONG),
        resources.oom_counted("replica-2", _OOM),
        restarts.kill_breaks_visibly("replica-2", _OOM),
        users.no_hang(_OOM),
        restarts.ready("replica-2", _OOM),
        restarts.first_token("replica-2", _OOM),
        restarts.warms_up({_OOM: "replica-2"}, within_s=3),
        recovers_within.check(_OOM),
        steady_state.check("rejoined"),
    ),
    alerts=(
        # More long contexts are asked for than may wait, from the first second to the last.
        Expected(_LONG, "QueueSaturated", signal_delay_s=2, clear_delay_s=5),
        Expected(_LONG, "GatewayDown", fires=False, holds=True),
        Expected(_LONG, "ReplicaDown", fires=False, holds=True),
        Expected(_OOM, "OutOfMemoryKill", signal_delay_s=2, clear_delay_s=2),
        Expected(_OOM, "ReplicaDown", {"component": "replica-1"}, fires=False, holds=True),
        Expected(_OOM, "GatewayDown", fires=False, holds=True),
    ),
    runbook=RUNBOOK,
    briefing=BRIEFING,
)
