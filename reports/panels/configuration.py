"""What was run, with which versions, and how to run it again."""

from __future__ import annotations

import yaml
from markupsafe import Markup

from harness.evidence.view import RunView
from harness.model.topology import POLICIES
from harness.model.verdict import Verdict
from reports.panel import facts

ORDER, TITLE = 90, "Configuration"


def html(view: RunView, verdict: Verdict) -> Markup:
    """Replay command first; then versions, gateway policy and the scenario as it was run."""
    plan = view.plan
    git = plan.get("git", {})
    commit = f"{git.get('commit') or 'unknown'}{' with changes' if git.get('dirty') else ''}"
    rows = [
        ("run", plan["run_id"]),
        ("started", plan["anchor"]["wall"]),
        ("seed", plan["seed"]),
        ("runtime", f"{plan['runtime']} — {plan.get('runtime_why', '')}"),
        ("engine", plan["engine"]),
        *((("target", plan["guard"]),) if view.target else ()),
        ("instance", plan["instance"]),
        ("commit", commit),
        *((name, version) for name, version in sorted(plan.get("versions", {}).items())),
        *(("engine version", event.data.get("text", "")) for event in view.events("engine_version")),
        *((f"niceness of the {name}", value) for name, value in plan.get("niceness", {}).items()),
        *((f"machine {name}", value) for name, value in sorted(plan.get("machine", {}).items())),
    ]
    policy = [(f"{owner}.{name}", value) for owner in POLICIES for name, value in sorted(view.policy(owner).items())]
    scenario = yaml.safe_dump(plan["scenario"], sort_keys=False, allow_unicode=True)
    return Markup(
        "<p>Run it again:</p><pre>{}</pre>{}<details><summary>Policy of the gateways and of DNS</summary>{}</details>"
        "<details><summary>Scenario (times in seconds, rates per second)</summary><pre>{}</pre></details>"
    ).format(plan["command"], facts(rows), facts(policy), scenario)
