"""One fault's life in a session: journal → inject → prove → hold → heal → prove. A workload's is the same, without the
injection: it is done while the phase is held (docs/adr/0015). An operation's is journal → begin → prove → carry out →
heal → prove (docs/adr/0016). All are recorded with the same events.

What takes a fault back is written down before it is injected, and where that fails nothing is. How long it is held,
and when it comes, is its timeline's business; on the way out of the session the journal is rolled back in any case.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

from harness.faults.base import (
    ComesBack,
    DeferredRollback,
    Listed,
    Operation,
    Proof,
    Workload,
    take_back,
    tell_step,
    to_the_end,
)
from harness.model.errors import OperationAborted
from harness.model.journal import Undo
from harness.probes.presence import PresenceProbe
from harness.run.ends import require_watchdog
from harness.run.session import Session
from harness.run.tasks import all_ended, end


class Injector:
    """The faults of one session. ``phase`` is the name that events of a fault carry."""

    def __init__(self, session: Session) -> None:
        self._session = session
        #: Of what was healed, what stays until the users have gone.
        self.staying: list[tuple[Listed, DeferredRollback, Undo]] = []
        self._watches: list[asyncio.Task[None]] = []
        #: By id: set once it is recorded whether the effect was proven.
        self._recorded: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.heal_proofs: list[asyncio.Task[None]] = []
        session.before_heal.append(self._end)

    async def inject(self, faults: Sequence[Listed], phase: str) -> None:
        """Break or begin them all, side by side; ``fault.measure`` was done. No order is under way afterwards."""
        await all_ended(self._inject(fault, phase) for fault in faults)

    async def _inject(self, fault: Listed, phase: str) -> None:
        """Each is watched from its own injection on: others of the phase may take longer to inject."""
        session = self._session
        require_watchdog(session.run)
        session.check_recording()  # the load has ended when this process was stopped for long
        await to_the_end(session.journal.will_need, fault.undo())
        self._evidence("fault_injecting", fault, phase, expected_disruptions=fault.expected_disruptions)
        if isinstance(fault, Operation):
            await fault.begin(session.context)
        elif not isinstance(fault, Workload):  # of which there is nothing to inject
            await fault.inject(session.context)
        self._evidence("fault_injected", fault, phase)
        if not isinstance(fault, Operation | Workload) and fault.lasts:
            probe = PresenceProbe(fault.id, fault.on, partial(fault.present, session.context))
            self._watches.append(asyncio.create_task(session.sampling.sample(probe)))

    async def prove(self, fault: Listed, phase: str, again_s: float) -> None:
        """``prove_once``; and of a fault once more at ``again_s`` where it can be."""
        proven, session = await self.prove_once(fault, phase), self._session
        if isinstance(fault, Operation | Workload) or not proven or not fault.proven_again:
            return
        await asyncio.sleep(max(0.0, again_s - session.now_s()))
        again = await fault.verify(session.context)
        kind = "fault_proven_again" if again.proven else "fault_lost"
        self._evidence(kind, fault, phase, during=again.seen, why=again.why)
        if not again.proven:
            session.run.progress.say(f"LOST BEFORE THE HEAL: {again.why}")

    async def prove_once(self, fault: Listed, phase: str) -> bool:
        """Whether the effect is proven: of a fault or an operation as it is now, of a workload by doing it."""
        context = self._session.context
        proof = await (fault.run(context) if isinstance(fault, Workload) else fault.verify(context))
        self._proven(fault, phase, proof)
        return proof.proven

    async def carry_out(self, fault: Listed) -> None:
        """Let what has begun come to its end: an operation, whose other steps follow the proof of the first ones; the
        comeback of what a fault has taken down, at its own time; a workload. Any other fault is as it is.
        """
        context = self._session.context
        if isinstance(fault, Operation | Workload):
            await self._recorded[fault.id].wait()
        elif isinstance(fault, ComesBack):
            await fault.come_back(context)
        if isinstance(fault, Operation):
            try:
                await fault.carry_out(context)
            except OperationAborted as error:  # as far as it came, it is rolled back by the heal
                tell_step(context, fault, "aborted", why=str(error))

    def _proven(self, fault: Listed, phase: str, proof: Proof) -> None:
        kind = "fault_proven" if proof.proven else "fault_unproven"
        self._evidence(kind, fault, phase, before=proof.before, during=proof.seen, why=proof.why)
        self._session.run.progress.say(f"{'proven' if proof.proven else 'NOT PROVEN'}: {proof.why}")
        self._recorded[fault.id].set()

    async def heal(self, faults: Sequence[Listed], phase: str) -> None:
        """Roll them all back, the last one first. What would be felt by users stays, in the journal."""
        await end(self._watches)
        await all_ended(self._heal(fault, phase) for fault in reversed(faults))

    async def _heal(self, fault: Listed, phase: str) -> None:
        session = self._session
        self._evidence("fault_healing", fault, phase)
        if isinstance(fault, DeferredRollback) and (stays := fault.deferred_rollback()) is not None:
            await to_the_end(session.journal.will_need, stays)
            self.staying.append((fault, fault, stays))
            session.run.log.add("fault_stays", fault=stays.id, on=fault.on, type=fault.type)
        await to_the_end(take_back, session.context, fault.undo())
        self._evidence("fault_healed", fault, phase)  # before the mark: what is marked as done is not told again
        session.journal.done(fault.undo())

    def prove_healed(self, faults: Sequence[Listed], phase: str) -> None:
        """Begin to prove that they are gone; ``heals_proven`` waits for it."""
        self.heal_proofs += [asyncio.create_task(self._prove_healed(fault, phase)) for fault in faults]

    async def _prove_healed(self, fault: Listed, phase: str) -> None:
        proof = await fault.verify_healed(self._session.context)
        kind = "heal_proven" if proof.proven else "heal_unproven"
        self._evidence(kind, fault, phase, **_of_heal(proof))
        self._session.run.progress.say(f"{'healed' if proof.proven else 'NOT PROVEN TO BE HEALED'}: {proof.why}")

    async def heals_proven(self) -> None:
        """Wait until each heal so far is proven, or found not to be. Raises what a proof died of."""
        await asyncio.gather(*self.heal_proofs)

    async def take_back_what_stays(self) -> None:
        """For when nobody is there to feel it any more."""
        session = self._session
        for fault, stays, undo in self.staying:
            what = {"fault": undo.id, "on": fault.on, "type": fault.type}
            session.run.progress.say(f"taking back what has stayed: {undo.id}")
            await to_the_end(take_back, session.context, undo)
            session.run.log.add("fault_healed", **what)
            session.journal.done(undo)
            proof = await stays.verify_reverted(session.context)
            kind = "heal_proven" if proof.proven else "heal_unproven"
            session.run.log.add(kind, **what, **_of_heal(proof))
            session.run.progress.say(f"{'gone' if proof.proven else 'NOT PROVEN TO BE GONE'}: {proof.why}")

    async def _end(self) -> None:
        """On the way out: nobody asks any more whether faults are there, or gone."""
        await end([*self._watches, *self.heal_proofs])

    def _evidence(self, kind: str, fault: Listed, phase: str, **data: Any) -> None:
        self._session.run.log.add(kind, fault=fault.id, phase=phase, on=fault.on, type=fault.type, **data)


def _of_heal(proof: Proof) -> dict[str, Any]:
    """What an event tells of a heal's proof; of one that failed, what is left, too."""
    told = {"before": proof.before, "after": proof.seen, "why": proof.why}
    return told if proof.proven else {**told, "left": proof.left}
