"""Which subject a check is of: the file that declares it, whose first line says what its checks are about."""

from __future__ import annotations

import importlib
import pkgutil
import re
from functools import cache

from harness.judge import checks
from harness.judge.checks import shapes

OBJECTIVES = "Objectives of the scenario: what users were promised."
#: Checks of another version, which no file of this one declares.
OTHERS = "Checks of another version."


def of(check_id: str) -> str:
    """The subject of a check by its id, as one sentence."""
    if check_id.startswith("slo-"):
        return OBJECTIVES
    return _declared().get(check_id, OTHERS)


@cache
def _declared() -> dict[str, str]:
    """Of each check that any file in checks/ declares: the first line of that file, without where to read more."""
    modules = [
        importlib.import_module(f"{checks.__name__}.{found.name}") for found in pkgutil.iter_modules(checks.__path__)
    ]
    said = {module.__name__: (module.__doc__ or module.__name__).partition("\n")[0] for module in modules}
    return {
        check: re.sub(r" \(docs/[^)]*\)", "", said[name]) for check, name in shapes.DECLARED.items() if name in said
    }
