"""Options of the fault ``drain``, and of everything else that is done to a replica at the gateways."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from harness.model.scenario import Strict
from harness.model.topology import Topology


class Options(Strict):
    """``gateways`` limits the fault to some of them; without it, it is at all that the stack has."""

    gateways: tuple[str, ...] | None = Field(default=None, min_length=1)

    @field_validator("gateways")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        known: tuple[str, ...] = (info.context or {}).get("gateways", names or ())
        if unknown := [name for name in names or () if name not in known]:
            raise ValueError(f"found {unknown[0]!r}, expected some of {', '.join(known)}")
        return names

    def at(self, topology: Topology) -> tuple[str, ...]:
        """The gateways that are meant."""
        return self.gateways or topology.gateways
