"""From a YAML file to a ``Scenario`` that can be run, or to one clear line with file:line.

Steps: read → YAML tree with line numbers → overrides (``--set``) → strict data (pydantic) → timeline → faults and
their targets → objectives and their sample sizes. Nothing is started before all of them hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from harness.faults import base as faults
from harness.judge import objectives, sli
from harness.judge.slo import unit_problem
from harness.model import options
from harness.model.errors import ScenarioError, UsageError, did_you_mean
from harness.model.scenario import SLO, FaultSpec, LoadSpec, Phase, Scenario, Share, StopCondition, Strict, short
from harness.model.topology import POLICIES, Topology
from harness.plan import stop_conditions
from stack import stacks

#: How many standard deviations of random arrivals a phase must have to spare: about 1 run in 500 has fewer.
SPREAD = 2.9
#: No scenario is larger; what is would keep the YAML parser busy for minutes.
CHARACTERS_MAX = 200_000
#: Values after aliases are written out: some lines of aliases of aliases would else fill the memory.
VALUES_MAX = 20_000
NUMBERS_BELOW = 2.0**63

S = TypeVar("S", bound=Strict)


def load(path: Path, overrides: Sequence[str] = (), topology: Topology | None = None) -> Scenario:
    """The scenario in ``path`` with ``key.sub=value`` overrides. ScenarioError for anything wrong with it.

    It names the overrides where the file is sound without them.
    """
    try:
        return _load(path, overrides, topology)
    except ScenarioError as error:
        if not overrides or not _sound(path, (), topology):  # what is wrong with the file is told with its line
            raise
        blamed = [one for one in overrides if _sound(path, [other for other in overrides if other != one], topology)]
        flags = " ".join(f"--set {short(one)}" for one in blamed or overrides)
        raise ScenarioError(flags, None, error.problem) from None


def _sound(path: Path, overrides: Sequence[str], topology: Topology | None) -> bool:
    try:
        _load(path, overrides, topology)
    except UsageError:
        return False
    return True


def strict(path: Path, kind: type[S], overrides: Sequence[str] = ()) -> tuple[S, Callable[[Sequence[Any]], int | None]]:
    """The YAML file as ``kind``, and the line of a place in it. ScenarioError, with file and line, where it is none."""
    node = _parse(path)
    data = _with_overrides(_Plain(path).value(node), overrides)
    try:
        return kind.model_validate(data), lambda location: _line(node, location)
    except ValidationError as error:
        first = _worth_telling(error)
        raise ScenarioError(path, _line(node, first["loc"]), _sentence(first, kind)) from None


def _load(path: Path, overrides: Sequence[str], topology: Topology | None) -> Scenario:
    scenario, line = strict(path, Scenario, overrides)
    for location, problem in _problems(scenario, topology or Topology(stacks.find(stacks.DEFAULT))):
        raise ScenarioError(path, line(location), problem)
    return scenario


def _parse(path: Path) -> yaml.MappingNode:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(CHARACTERS_MAX + 1)
    except FileNotFoundError:
        raise ScenarioError(path, None, "there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(path, None, f"cannot be read ({error})") from None
    if len(text) > CHARACTERS_MAX:
        raise ScenarioError(path, None, f"has more than {CHARACTERS_MAX} characters, which no scenario needs")
    node = _compose(path, text)
    if not isinstance(node, yaml.MappingNode):
        raise ScenarioError(path, 1, "found no mapping, expected keys such as name")
    return node


def _compose(path: Path, text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ScenarioError(path, line, f"not valid YAML: {error.problem or error.context}") from None
    except RecursionError:
        raise ScenarioError(path, None, "not valid YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ScenarioError(path, None, f"not valid YAML: {str(error).splitlines()[0]}") from None


class _Plain:
    """A YAML tree as plain data. Written out by hand so that a key that stands twice is an error, not the last one."""

    def __init__(self, path: Path) -> None:
        self._path, self._values = path, 0

    def value(self, node: yaml.Node, inside: frozenset[int] = frozenset()) -> Any:
        """The data of ``node``; ScenarioError for what no scenario may hold."""
        self._values += 1
        if id(node) in inside:
            raise self._error(node, "an alias that contains itself")
        if self._values > VALUES_MAX:
            raise self._error(node, f"more than {VALUES_MAX} values (aliases count as what they stand for)")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, inside | {id(node)})
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, inside | {id(node)}) for item in node.value]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, inside: frozenset[int]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self._error(key, "found a list or mapping as a key, expected a word")
            if key.value in mapping:
                raise self._error(key, f"the key {key.value!r} stands here twice")
            mapping[key.value] = self.value(value, inside)
        return mapping

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            value = yaml.SafeLoader("").construct_object(node)
        except Exception as error:  # PyYAML's constructors index, look up and convert without looking first
            problem = str(error).splitlines()[0] if isinstance(error, yaml.YAMLError | ValueError) else node.tag
            raise self._error(node, f"not a value we can use: {problem}") from None
        if not isinstance(value, str | int | float | None) or (
            isinstance(value, int | float) and not abs(value) < NUMBERS_BELOW
        ):
            found = f"{short(node.value)} as {node.tag.rpartition(':')[2]}"
            raise self._error(
                node, f"not a value we can use: found {found}, expected text, a number, true, false or null"
            )
        return value

    def _error(self, node: yaml.Node, problem: str) -> ScenarioError:
        return ScenarioError(self._path, node.start_mark.line + 1, problem)


def _with_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UsageError(
                f"--set {short(override)}: expected key=value, such as load.rate=8/s or phases.1.duration=60s"
            )
        target: Any = data
        *parents, last = key.split(".")
        for part in parents:
            target = _child(override, target, part)
        value = _override_value(override, text)
        if isinstance(target, dict):
            target[last] = value
        else:
            _child(override, target, last)
            raise UsageError(f"--set {short(override)}: name a key of {short(last)}, not the whole of it")
    return data


def _override_value(override: str, text: str) -> Any:
    """What the text would be in a file."""
    try:
        node = _compose(Path(), text)
        return None if node is None else _Plain(Path()).value(node)
    except ScenarioError as error:
        raise UsageError(f"--set {short(override)}: {error.problem}") from None


def _child(override: str, target: Any, part: str) -> Any:
    if isinstance(target, dict):
        return target.setdefault(part, {})
    if isinstance(target, list):  # of phases, cohorts or SLOs: by name, or by position
        names = [item.get("name") if isinstance(item, dict) else None for item in target]
        if part in names:
            return target[names.index(part)]
        if part in map(str, range(len(target))):
            return target[int(part)]
    raise UsageError(f"--set {short(override)}: there is nothing called {short(part)} there")


def _line(node: yaml.Node, location: Sequence[Any]) -> int | None:
    """The line of the deepest part of ``location`` that the file has."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _worth_telling(error: ValidationError) -> Any:
    """The first problem; a mistyped key is reported twice, as missing and as unknown, and only the latter helps."""
    return min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")


def _sentence(error: Any, kind: type[Strict]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        hint = did_you_mean(str(error["loc"][-1]), _model_fields(kind))
        return f"unknown key {where!r}" + (f"; {hint}" if hint else "")
    if error["type"] == "missing":
        return f"the key {where!r} is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    found = "" if message.startswith("found ") else f" (found {short(error['input'])})"
    return f"{where}: {message}{found}"


def _model_fields(kind: type[Strict]) -> list[str]:
    """Every key that such a file may have anywhere: a typo is looked up among all of them."""
    models = [kind, *_models_below(kind)]
    return sorted({name for model in models for name in _keys(model)})


def _keys(model: Any) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name


def _models_below(model: Any) -> Iterator[Any]:
    for field in model.model_fields.values():
        for candidate in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if hasattr(candidate, "model_fields"):
                yield candidate
                yield from _models_below(candidate)


def _problems(scenario: Scenario, topology: Topology) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Everything that is wrong although each value alone is right, first things first."""
    yield from _timeline_problems(scenario)
    yield from load_problems(scenario.load, topology)
    for i, phase in enumerate(scenario.phases):
        yield from _fault_problems(("phases", i), phase, topology)
    yield from watch_problems(scenario.abort_when, ("abort_when",))
    for i, slo in enumerate(scenario.slos):
        for problem in slo_problems(scenario, slo):
            yield ("slos", i), f"SLO {slo.name!r}: {problem}"
        if topology.target is not None and "gateway." in slo.objective:
            yield ("slos", i), f"SLO {slo.name!r}: nobody knows the policy of an external target's gateways"


def load_problems(load: LoadSpec, topology: Topology) -> Iterator[tuple[tuple[Any, ...], str]]:
    """What is wrong with the load of a file, for that stack."""
    if topology.target is not None and isinstance(load.rate, Share):
        yield (
            ("load", "rate"),
            f"load.rate: found {load.rate}, but a capacity is measured by load up to the limit, which nobody "
            "puts on a service that is not Drillyard's: name a rate, such as --set load.rate=2/s",
        )
    if load.model == "closed" and isinstance(load.rate, Share):
        yield ("load", "rate"), "load.rate: a share of capacity is of arrivals, which only the open model has"


def watch_problems(
    conditions: Sequence[StopCondition], place: tuple[Any, ...]
) -> Iterator[tuple[tuple[Any, ...], str]]:
    """The conditions, listed at ``place``, that nobody could watch while it goes on."""
    for i, condition in enumerate(conditions):
        if problem := stop_conditions.problem(condition):
            yield (*place, i), f"{place[-1]}: {problem}"


def _timeline_problems(scenario: Scenario) -> Iterator[tuple[tuple[Any, ...], str]]:
    seen: set[str] = set()
    for i, phase in enumerate(scenario.phases):
        if phase.name in seen:
            yield ("phases", i, "name"), f"two phases are called {phase.name!r}"
        seen.add(phase.name)
        if phase.duration == 0:
            yield ("phases", i, "duration"), f"phase {phase.name!r} lasts 0 s"
        yield from ((("phases", i, *key), problem) for key, problem in _open_end_problems(phase))
        if phase.kind == "fault" and not phase.faults:
            yield ("phases", i), f"phase {phase.name!r} is of kind fault but injects nothing"
        if phase.kind != "fault" and phase.faults:
            yield ("phases", i, "faults"), f"phase {phase.name!r} injects faults, so its kind must be fault"
    kinds = [phase.kind for phase in scenario.phases]
    if "quiet" in kinds[:-1]:
        yield (
            ("phases", kinds.index("quiet")),
            "a quiet phase must be the last: the load does not return",
        )
    if "fault" in kinds and "baseline" not in kinds[: kinds.index("fault")]:
        yield ("phases",), "there is no baseline phase before the first fault: nothing to compare with"
    if kinds and kinds[-1] == "fault":
        yield ("phases", len(kinds) - 1), "the last phase is a fault: a recovery phase must follow, to prove the heal"


def _open_end_problems(phase: Phase) -> Iterator[tuple[tuple[str, ...], str]]:
    if phase.until is None and phase.at_most is not None:
        yield ("at_most",), f"phase {phase.name!r} has at_most without `until`, so it lasts its duration"
    if phase.until is not None and phase.at_most is None:
        yield ("until",), f"phase {phase.name!r} has an `until`: at_most must bound that"
    if phase.until == "alerts_cleared" and phase.faults:
        yield ("until",), f"phase {phase.name!r} injects faults: their alerts clear when it is over"
    if phase.until == "settled" and not phase.faults:
        yield ("until",), f"phase {phase.name!r} injects nothing that could settle"
    if phase.longest < phase.duration:
        yield ("at_most",), f"phase {phase.name!r} lasts at most {phase.longest:g} s, less than its duration"


def _fault_problems(
    location: tuple[Any, ...], phase: Phase, topology: Topology
) -> Iterator[tuple[tuple[Any, ...], str]]:
    for i, spec in enumerate(phase.faults):
        here = (*location, "faults", i)
        if spec.type in faults.types() and faults.has_to_settle(spec.type) and phase.until != "settled":
            yield (
                (*here, "type"),
                f"{spec.type} takes as long as it needs, but phase {phase.name!r} lasts {phase.duration:g} s: give it "
                "`until: settled` and at_most",
            )
        yield from spec_problems(here, spec, topology)


def spec_problems(here: tuple[Any, ...], spec: FaultSpec, topology: Topology) -> Iterator[tuple[tuple[Any, ...], str]]:
    """What is wrong with one fault, which stands at ``here``: its type, its target, its options."""
    if spec.type not in faults.types():
        hint = f"{did_you_mean(spec.type, faults.types())} Known: {', '.join(faults.types())}".lstrip()
        yield (*here, "type"), f"there is no fault {spec.type!r}: {hint}"
        return
    if not faults.matching(spec.type, spec.on, topology):
        known = ", ".join(faults.fault_class(spec.type).targets(topology))
        yield (*here, "on"), f"nothing is called {spec.on!r} that {spec.type} can be put on. Known: {known}"
    kind = options.model(spec.type)
    try:
        kind.model_validate(spec.options, context={"gateways": topology.gateways})
    except ValidationError as error:
        yield (*here, "options"), f"{spec.type}: {_sentence(_worth_telling(error), kind)}"


def slo_problems(scenario: Scenario, slo: SLO) -> Iterator[str]:
    """What is wrong with one objective: unknown SLI, phase, cohort or name in it, or too few samples to judge."""
    by_name = {phase.name: phase for phase in scenario.phases}
    unknown = [name for name in slo.phases if name not in by_name]
    if unknown:
        yield f"there is no phase {unknown[0]!r}; phases are {', '.join(by_name)}"
        return
    shares = {cohort.name: cohort.share for cohort in scenario.load.cohorts}
    if slo.cohort is not None and slo.cohort not in shares:
        yield f"there is no cohort {slo.cohort!r}; cohorts are {', '.join(shares)}"
        return
    share = 1.0 if slo.cohort is None else shares[slo.cohort] / sum(shares.values())
    seconds = sum(by_name[name].duration for name in slo.phases)
    rate = _known_rate(scenario)
    yield from _sli_problems(slo.sli, None if rate is None else rate * share * seconds, " + ".join(slo.phases))
    try:
        used = objectives.names(objectives.parse(slo.objective))
    except ValueError as error:
        yield f"objective {slo.objective!r}: {error}"
        return
    if problem := unit_problem(slo):
        yield problem
    known = {name.replace("-", "_"): phase for name, phase in by_name.items()}
    known.setdefault("baseline", next((p for p in scenario.phases if p.kind == "baseline"), scenario.phases[0]))
    for name in used:
        yield from _name_problems(name, known, rate)


def _known_rate(scenario: Scenario) -> float | None:
    """Requests per second; None while they are a share of a capacity: sample sizes are counted when it is fitted."""
    return None if isinstance(scenario.load.rate, Share) else scenario.load.rate


def _name_problems(name: str, phases: dict[str, Phase], rate: float | None) -> Iterator[str]:
    owner, _, what = name.partition(".")
    if owner in POLICIES:
        fields = POLICIES[owner].__dataclass_fields__
        if what not in fields and what.removesuffix("_ms") + "_s" not in fields:
            yield f"the policy of {owner} has no {what!r}"
    elif owner not in phases:
        yield f"objective names {name!r}, but there is no phase {owner!r}"
    else:
        yield from _sli_problems(what, None if rate is None else rate * phases[owner].duration, phases[owner].name)


def at_least(expected: float) -> float:
    """How many random arrivals there will be at least, where so many are expected."""
    return expected - SPREAD * math.sqrt(expected)


def _sli_problems(name: str, expected: float | None, where: str) -> Iterator[str]:
    """An SLI that does not exist, or a percentile with too few requests to be an answer (docs/metrics.md)."""
    try:
        needed = sli.find(name).samples_needed
    except ValueError as error:
        yield str(error)
        return
    if expected is not None and at_least(expected) < needed and needed > 1:
        yield (
            f"{name} needs {needed} requests, {where} will have about {expected:.0f}, give or take "
            f"{SPREAD * math.sqrt(expected):.0f}: longer phase or higher rate"
        )
