"""Objectives as text: a comparison with a number, or with arithmetic over the gateway's policy and the run's own SLIs.

``">= 99 %"``, ``"<= 800 ms"``, ``"<= gateway.first_byte_timeout_ms + 2 * baseline.ttft_p95_ms"``

Names are ``gateway.<policy field>`` and ``dns.<policy field>`` (times under ``_s`` or ``_ms``), ``<phase>.<sli>`` with
``_`` for every ``-`` of the phase's name, and ``baseline.<sli>`` for the phase of that kind. Inside, every time is in
milliseconds. Units are checked when an objective is parsed, so that nobody compares percent with seconds.
"""

from __future__ import annotations

import ast
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from harness.judge import sli
from harness.model.topology import POLICIES

_COMPARISON = re.compile(r"\s*(<=|>=|<|>)")
_WITH_UNIT = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)(\s*)(%|ms\b|s\b|tokens/s)")
_SCALES = {"%": ("%", 1.0), "ms": ("ms", 1.0), "s": ("ms", 1000.0), "tokens/s": ("tokens/s", 1.0)}
_CHARACTERS_MAX = 500
_NUMBERS_BELOW = 1e15
_OPERATORS: dict[type[ast.operator], tuple[str, Callable[[float, float], float]]] = {
    ast.Add: ("+", lambda a, b: a + b),
    ast.Sub: ("−", lambda a, b: a - b),
    ast.Mult: ("×", lambda a, b: a * b),
    ast.Div: ("/", lambda a, b: a / b),
}
_SIGNS = {"<=": "≤", ">=": "≥", "<": "<", ">": ">"}


@dataclass(frozen=True)
class Objective:
    """A parsed objective: ``comparison`` (``<=``, ``>=``, ``<``, ``>``) and the limit's expression."""

    text: str
    comparison: str
    unit: str  # of the limit: ms, %, tokens/s, or "" for a bare number
    tree: ast.expr
    literals: dict[int, float]  # column -> value, for numbers that were written with a unit

    @property
    def upper(self) -> bool:
        """Whether small values are good."""
        return self.comparison.startswith("<")


@dataclass(frozen=True)
class Limit:
    """An objective with its numbers filled in: ``text`` is ``"≤ 3640 ms (3000 + 2 × 320)"``."""

    value: float
    unit: str
    text: str
    upper: bool
    strict: bool

    def met_by(self, value: float) -> bool:
        """Whether ``value`` is on the good side."""
        if value == self.value:
            return not self.strict
        return (value < self.value) == self.upper

    def margin(self, value: float) -> float:
        """Distance from the limit, positive on the good side."""
        return self.value - value if self.upper else value - self.value


def parse(text: str) -> Objective:
    """An objective from its text. ValueError with the position (1-based column) of what is wrong."""
    if len(text) > _CHARACTERS_MAX:
        raise ValueError(f"column {_CHARACTERS_MAX}: found {len(text)} characters, expected {_CHARACTERS_MAX} at most")
    text = " ".join(text.split())  # columns are those of one line
    comparison = _COMPARISON.match(text)
    if comparison is None:
        raise ValueError(f"column 1: {text!r} must begin with one of <=, >=, <, >, such as '<= 800 ms'")
    literals: dict[int, tuple[str, float]] = {}

    def without_unit(match: re.Match[str]) -> str:
        unit, scale = _SCALES[match[3]]
        literals[match.start()] = (unit, float(match[1]) * scale)
        return match[1].ljust(len(match[0]))

    body = _WITH_UNIT.sub(without_unit, text)
    # The comparison becomes an opening bracket, so that columns stay those of the text.
    source = " " * (comparison.end() - 1) + "(" + body[comparison.end() :] + ")"
    try:
        with warnings.catch_warnings(action="error"):
            tree = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        column = getattr(error, "offset", None) or 1
        raise ValueError(f"column {column + comparison.end() - 1}: {text!r} cannot be read as an expression") from error
    shift = len(source) - len(source.lstrip())
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            node.col_offset += shift
    unit = _unit(tree, {column: unit for column, (unit, _) in literals.items()}, text)
    return Objective(text, comparison[1], unit, tree, {column: value for column, (_, value) in literals.items()})


def names(objective: Objective) -> tuple[str, ...]:
    """The names it uses (``"gateway.retries"``, ``"baseline.ttft_p95_ms"``), sorted, each once."""
    return tuple(sorted({_name(node) for node in ast.walk(objective.tree) if isinstance(node, ast.Attribute)}))


def evaluate(objective: Objective, value_of: Callable[[str], float]) -> Limit:
    """The limit, with ``value_of`` giving each name's number (times in ms). ValueError when it divides by zero."""
    try:
        value, shown = _evaluate(objective.tree, objective, value_of)
    except ZeroDivisionError as error:
        raise ValueError(f"{objective.text!r} divides by zero") from error
    if not math.isfinite(value):
        raise ValueError(f"{objective.text!r} is no finite limit")
    unit = f" {objective.unit}" if objective.unit else ""
    text = f"{_SIGNS[objective.comparison]} {value:.6g}{unit}"
    if not isinstance(objective.tree, ast.Constant):
        text += f" ({shown})"
    return Limit(value, objective.unit, text, objective.upper, len(objective.comparison) == 1)


def _evaluate(node: ast.expr, objective: Objective, value_of: Callable[[str], float]) -> tuple[float, str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        value = objective.literals.get(node.col_offset, float(node.value))
        return value, f"{value:.6g}"
    if isinstance(node, ast.Attribute):
        value = value_of(_name(node))
        return value, f"{value:.6g}"
    if isinstance(node, ast.BinOp):
        sign, compute = _OPERATORS[type(node.op)]
        left, left_text = _evaluate(node.left, objective, value_of)
        right, right_text = _evaluate(node.right, objective, value_of)
        left_text, right_text = _bracketed(node, node.left, left_text), _bracketed(node, node.right, right_text)
        return compute(left, right), f"{left_text} {sign} {right_text}"
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        parts = [_evaluate(arg, objective, value_of) for arg in node.args]
        pick = max if node.func.id == "max" else min
        return pick(v for v, _ in parts), f"{node.func.id}({', '.join(t for _, t in parts)})"
    raise AssertionError(f"parse() let {ast.dump(node)} through")


def _bracketed(parent: ast.BinOp, child: ast.expr, text: str) -> str:
    """Brackets round a sum inside a product or on the right of a minus or a division."""
    if not isinstance(child, ast.BinOp):
        return text
    loose = isinstance(child.op, ast.Add | ast.Sub) and isinstance(parent.op, ast.Mult | ast.Div)
    right = child is parent.right and isinstance(parent.op, ast.Sub | ast.Div)
    return f"({text})" if loose or right else text


def _unit(node: ast.expr, units: dict[int, str], text: str) -> str:
    """The unit of an expression; ValueError for anything that is not whitelisted or does not add up."""
    if isinstance(node, ast.Constant) and _sane(node.value):
        return units.get(node.col_offset, "")
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return _unit_of_name(node, text)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _unit_of_operation(node, units, text)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("min", "max") and node.args:
        found = {_unit(arg, units, text) for arg in node.args}
        if len(found) == 1 and not node.keywords:
            return found.pop()
    raise _error(node, text, "expected numbers with a unit, names such as baseline.ttft_p95_ms, + − * / min() max()")


def _sane(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < _NUMBERS_BELOW


def _unit_of_operation(node: ast.BinOp, units: dict[int, str], text: str) -> str:
    left, right = _unit(node.left, units, text), _unit(node.right, units, text)
    if isinstance(node.op, ast.Add | ast.Sub) and left == right:
        return left
    if isinstance(node.op, ast.Mult) and "" in (left, right):
        return left or right
    if isinstance(node.op, ast.Div) and right in ("", left):
        return left if right == "" else ""
    verb = _OPERATORS[type(node.op)][0]
    raise _error(node, text, f"{left or 'a bare number'} {verb} {right or 'a bare number'} has no meaning")


def _unit_of_name(node: ast.Attribute, text: str) -> str:
    owner, field = _name(node).split(".")
    if owner in POLICIES:
        return "ms" if field.endswith(("_s", "_ms")) else ""
    try:
        return sli.find(field).unit
    except ValueError as error:
        raise _error(node, text, str(error)) from error


def _name(node: ast.Attribute) -> str:
    assert isinstance(node.value, ast.Name)
    return f"{node.value.id}.{node.attr}"


def _error(node: ast.expr, text: str, problem: str) -> ValueError:
    return ValueError(f"column {node.col_offset + 1}: {text!r}: {problem}")
