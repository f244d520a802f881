"""Defects that are switched on for a real drill on the simulator, and the checks that have to notice them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stack.simulator.options import Options
from tests.drills.outcome import CHECKOUT

_FOLDER = CHECKOUT / "tests" / "drills"
DEFECTS, OUTAGE, FAILOVER = _FOLDER / "defects.yaml", _FOLDER / "outage.yaml", _FOLDER / "failover.yaml"
NODE_RESTART = _FOLDER / "node-restart.yaml"
WAVES = _FOLDER / "waves.yaml"
#: Cancels that arrive late: no defect that is switched on, but a fault of the links that no drill of ours injects.
LATE_CANCELS = _FOLDER / "late_cancels.yaml"
SWAP = _FOLDER / "swap.yaml"
TOO_MUCH = _FOLDER / "oom.yaml"
SHIPPED = CHECKOUT / "scenarios" / "timeout-spike.yaml"
_START = ("warm-up", "baseline")
ONE = (*_START, "one-replica", "recovery-one")
ALL = (*_START, "all-replicas", "recovery-all")
DEAD, HUNG, SPLIT = ((name, f"recovery-{name}") for name in ("dead", "hung", "split"))
RESTART, KILL, DEAF = ("restart-1", "rejoined-1"), ("kill", "rejoined-after-kill"), ("deaf", "hearing-again")
RESTARTS = (*_START, *RESTART, "restart-2", "rejoined-2", *KILL, *DEAF)
ROLLOUT = (*_START, "swap", "after")
OVERSIZED, LONG = (*_START, "oversized", "recovery-oversized"), (*_START, "long", "recovery-long")
FAILURES = (*_START, *DEAD, *HUNG, *SPLIT, "dns-dead", "recovery-dns")
#: Of the cancel-storm drill.
STORM = (*_START, "prefill", "early", "recovery", "quiet")

SLOW_REPLICA = "one replica is three times slower"
#: What the simulator needs for the longest answer of the scenarios, 48 tokens, when it does nothing else.
_LONGEST_ANSWER_MS = Options().ttft_ms + 48 * 1000 / Options().tokens_per_second


@dataclass(frozen=True)
class LiveDefect:
    """One drill: ``phases`` of ``scenario`` with ``defects`` on. Every check in ``red`` must FAIL, and pass without."""

    name: str
    defects: tuple[str, ...]
    scenario: Path
    phases: tuple[str, ...]
    red: tuple[str, ...]
    settings: tuple[str, ...] = ()  # of the scenario, in the run without the defects too
    drill: str = "timeout-spike"

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of the program, but for the scenario. The seed is the same always: what a run draws is not its subject."""
        defects = (word for defect in self.defects for word in ("--defect", defect))
        return (*self.healthy_arguments, *defects)

    @property
    def healthy_arguments(self) -> tuple[str, ...]:
        """The same without the defects."""
        return ("--seed", "1", *(word for setting in self.settings for word in ("--set", setting)))


LIVE = (
    LiveDefect(
        "failures reach the clients",
        ("no_gateway_retries", "sim.slow_factor=3"),
        DEFECTS,
        ONE,
        ("failures hidden in one-replica", "availability with one bad replica"),
    ),
    LiveDefect(
        "a bad replica stays in use",
        # The engines are slow, so that both replicas have many requests at a time, and the bad one its share of them.
        ("no_readiness_checks", "no_gateway_timeout", "sim.slow_factor=4", "sim.short_answers@replica-1"),
        DEFECTS,
        ONE,
        ("gateways eject replica-2", "TTFT with one bad replica", "no silent truncation"),
    ),
    LiveDefect(
        "answers that are cut short",
        ("sim.short_answers",),
        DEFECTS,
        _START,
        ("no silent truncation", "right answers"),
    ),
    LiveDefect(
        "requests wait for ever",
        ("no_readiness_checks", "no_gateway_timeout"),
        DEFECTS,
        ALL,
        ("no hang in all-replicas", "no abandoned generation in all-replicas"),
    ),
    LiveDefect(
        "a storm of the gateways",
        ("no_readiness_checks", "many_gateway_retries", "html_errors"),
        OUTAGE,
        ALL,
        ("upstream amplification in all-replicas", "honest errors in all-replicas"),
    ),
    LiveDefect(
        "slow to come back",
        ("slow_put_back",),
        OUTAGE,
        ONE,
        (
            "gateways readmit replica-2 after one-replica",
            "recovery after one-replica",
        ),
    ),
    LiveDefect(
        "nobody is told",
        ("alert_rule_missing",),
        SHIPPED,
        ONE,
        ("alerts fire in one-replica",),
        (
            "load.rate=12/s",
            "phases.warm-up.duration=1s",
            "phases.baseline.duration=13s",
            "phases.one-replica.duration=13s",  # it is due after 11 s
        ),
    ),
    LiveDefect(
        "slow engines",
        ("sim.slow_factor=15",),
        SHIPPED,
        _START,
        ("TTFT before", "end to end before", "end to end before (median)"),
        (
            "load.rate=12/s",
            "phases.warm-up.duration=1s",
            "phases.baseline.duration=13s",
            # The engine cannot be so slow that it breaks the shipped objectives while it keeps up with this load.
            "slos.end to end before.objective=<= 3 s",
            "slos.end to end before (median).objective=<= 2 s",
        ),
    ),
    LiveDefect(
        SLOW_REPLICA,
        ("sim.slow_factor=3@replica-1",),
        SHIPPED,
        _START,
        ("end to end before",),
        (
            "load.rate=12/s",
            "phases.warm-up.duration=1s",
            "phases.baseline.duration=13s",
            # Between what the longest answer takes from a replica as it is and from one of a third the speed.
            f"slos.end to end before.objective=<= {2 * _LONGEST_ANSWER_MS:.0f} ms",
        ),
    ),
    LiveDefect(
        "DNS checks nothing",
        ("dns_health_checks_off",),
        FAILOVER,
        (*_START, *DEAD),
        ("DNS fails over from gateway-a in dead", "users fail over in dead", "only ready gateways serve"),
        drill="gateway-failover",
    ),
    LiveDefect(
        "answers that are kept too long",
        ("dns_long_ttl",),
        FAILOVER,
        (*_START, *HUNG),
        ("users fail over in hung",),
        drill="gateway-failover",
    ),
    LiveDefect(
        "a gateway that is always ready",
        ("no_readiness_checks",),
        FAILOVER,
        (*_START, *SPLIT),
        (
            "gateway-a is not ready in split",
            "DNS fails over from gateway-a in split",
            "users fail over in split",
        ),
        drill="gateway-failover",
    ),
    LiveDefect(
        "nobody asks for a token",
        ("no_readiness_agent",),
        NODE_RESTART,
        (*_START, *DEAF),
        ("gateways eject replica-2", "impact window bounded in deaf"),
        drill="node-restart",
    ),
    LiveDefect(
        "users stick to a replica that is drained",
        ("sticky_sessions",),
        NODE_RESTART,
        (*_START, *RESTART),
        ("drain breaks nothing in restart-1",),
        drill="node-restart",
    ),
    LiveDefect(
        "a dead replica stays in use",
        ("no_readiness_checks",),
        NODE_RESTART,
        (*_START, *KILL),
        ("gateways eject replica-1",),
        drill="node-restart",
    ),
    LiveDefect(
        "engines go on for nobody",
        ("sim.zombie_generation",),
        WAVES,
        STORM,
        ("cancels reach the engines in early", "tokens after the cancels in early"),
        drill="cancel-storm",
    ),
    LiveDefect(
        "cancelled requests keep their blocks",
        ("sim.leak_kv_on_cancel",),
        WAVES,
        STORM,
        ("queue and KV cache back after early", "no KV block held in the end"),
        drill="cancel-storm",
    ),
    LiveDefect(
        "gateways do not notice that clients have gone",
        # Engines in which a prefill takes a second and a half: so long nobody writes to the client. Few users, since
        # they are as slow; many streams, since those that end by RST are noticed all the same.
        ("no_abort_on_close", "sim.slow_factor=25"),
        WAVES,
        (*_START, "prefill", "recovery"),
        ("cancels reach the engines in prefill",),
        settings=("load.rate=2/s", "phases.prefill.faults.0.options.streams=40"),
        drill="cancel-storm",
    ),
    LiveDefect(
        "weights that are no shares",
        ("gateway_ignores_weight",),
        SWAP,
        ROLLOUT,
        ("exposure bounded",),
        # Few users: with many at a time the canary is seldom idle, and then even leastconn looks at weights.
        settings=("load.rate=5/s", "phases.swap.faults.0.options.hold=8s"),
        drill="model-swap",
    ),
    LiveDefect(
        "an old model in a new start",
        ("stale_model",),
        SWAP,
        ROLLOUT,
        ("rollout ends as it should",),
        drill="model-swap",
    ),
    LiveDefect(
        "caps that are off",
        ("no_caps",),
        TOO_MUCH,
        OVERSIZED,
        ("oversized requests are refused in oversized", "refusals name limit and value in oversized"),
        drill="oom",
    ),
    LiveDefect(
        "answers that are cut short beside oversized requests",
        ("sim.short_answers",),
        TOO_MUCH,
        OVERSIZED,
        ("no silent truncation",),
        drill="oom",
    ),
    LiveDefect(
        "long prompts among the others",
        ("long_prompts_share_queue",),
        TOO_MUCH,
        LONG,
        ("pressure on the KV cache in long",),
        drill="oom",
    ),
)
