"""What set an incident off is done again, whatever it was: the scenario says what, and the users are judged."""

from harness.judge.checks import recovers_within, steady_state, users
from harness.judge.drill import Drill, Expected
from harness.judge.runbook import runbook

_INCIDENT = "incident"

RUNBOOK = runbook(
    checks="""\
- **no hang**: a time limit is missing on the way. The gateway must give up before the client does.
""",
    objectives="""\
- **availability in the incident** / **TTFT in the incident**: users still notice what set the incident off. The action
  items of its report that are to hide it are not done, or do not suffice. The timeline shows what was injected and who
  was ejected when; «Share of each replica» who answered instead.
""",
)

BRIEFING = """\
What happened last time is happening again. Users complain as they did then. Find the component, keep the users from
noticing, and show that what was agreed on after the last time holds.
"""

DRILL = Drill(
    name="incident",
    title="Incident: what set it off once, again",
    hypothesis=(
        "What set a recorded incident off no longer reaches the users: while it happens they are answered, "
        "after one time-out of a gateway at most, and nothing hangs. Ten seconds after it is over the service "
        "is as before."
    ),
    scenario="incident",
    # No type in ``faults`` for its phase: any that the scenario names.
    checks=(
        steady_state.check("baseline"),
        users.no_hang(_INCIDENT),
        recovers_within.check(_INCIDENT),
        steady_state.check("recovery"),
    ),
    # An alert about gateways that fires must be true. Which should fire, only who knows the fault can say.
    alerts=(Expected(_INCIDENT, "GatewayDown", fires=False),),
    runbook=RUNBOOK,
    briefing=BRIEFING,
    core=False,
)
