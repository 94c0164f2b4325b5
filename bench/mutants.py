"""Mutants of a Python file: the same file with one small fault each, like a typo or a thinking error.

Annotations, docstrings, log lines and sentences for people are left alone: a fault there is found by reading.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
# What these decorators make cannot be used without them: every mutant would die at the import.
SHAPING = {"dataclass", "property", "staticmethod", "classmethod", "contextmanager", "cache", "cached_property"}


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Attributes:
        first: and `last`: lines of the statement it is in; tests that run none of them cannot find it.
        text: what it does, as a person reads it.
        source: of the whole file.
        function: the outermost function whose body it is in, by its qualified name; empty for the top of the module.
    """

    path: str
    first: int
    last: int
    text: str
    source: str
    function: str


def mutants_of(path: str, source: str) -> list[Mutant]:
    """Return every mutant of a file, in order."""
    tree = ast.parse(source)
    functions = _functions(tree)
    found = []
    for statement, node, name in _places(tree):
        for replacement, text in _faults(node):
            mutated = _replaced(tree, node, name, replacement)
            try:
                compiled = ast.unparse(ast.fix_missing_locations(mutated))
                compile(compiled, path, "exec")
            except (SyntaxError, ValueError):
                continue
            first, last = _span(statement)
            found.append(Mutant(path, first, last, f"{node.lineno}: {text}", compiled, functions.get(id(node), "")))
    return found


def _functions(tree: ast.Module) -> dict[int, str]:
    """Return, by the identity of each node inside one, the outermost function whose body it is in."""
    found = {}
    for statement in tree.body:
        prefix = f"{statement.name}." if isinstance(statement, ast.ClassDef) else ""
        for function in statement.body if isinstance(statement, ast.ClassDef) else [statement]:
            if isinstance(function, ast.FunctionDef):
                for inner in function.body:
                    found |= {id(node): prefix + function.name for node in ast.walk(inner)}
    return found


def _span(statement: ast.stmt) -> tuple[int, int]:
    """Return the lines of a statement; of a compound one only its head, because its body has its own statements."""
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if body and isinstance(body, list) else statement.end_lineno or statement.lineno
    return statement.lineno, max(last, statement.lineno)


def _places(tree: ast.Module) -> Iterator[tuple[ast.stmt, Any, str]]:
    """Yield each node that may be changed with the statement it is in."""

    def walk(node: ast.AST, statement: ast.stmt) -> Iterator[tuple[ast.stmt, Any, str]]:
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "type_comment", "type_params", "decorator_list"}:
                continue
            for child in value if isinstance(value, list) else [value]:
                if not isinstance(child, ast.AST) or _is_left_alone(child):
                    continue
                inside = child if isinstance(child, ast.stmt) else statement
                if isinstance(child, ast.stmt | ast.expr | ast.keyword):
                    yield inside, child, name
                yield from walk(child, inside)

    for statement in tree.body:
        if not _is_left_alone(statement) and not isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield statement, statement, "body"
            yield from walk(statement, statement)


def _is_left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # A docstring.
    if isinstance(node, ast.JoinedStr | ast.Assert):
        return True
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return " " in node.value or not node.value
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return ast.unparse(node.value.func).startswith("log.")
    if isinstance(node, ast.Assign | ast.AugAssign):  # Annotations are types, some of them as text.
        return ast.unparse(node).startswith(("__all__", "View =", "Resolve =", "T ="))
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _faults(node: ast.AST) -> Iterator[tuple[ast.AST | None, str]]:
    """Yield what may replace a node; None deletes a statement or an element."""
    changed: Any
    shown = ast.unparse(node).splitlines()[0][:90] if not isinstance(node, ast.excepthandler) else ""
    match node:
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            changed = copy.deepcopy(node)
            changed.ops = [COMPARISONS[type(op)]()]
            yield changed, f"{shown} -> {ast.unparse(changed)[:90]}"
        case ast.BoolOp():
            changed = copy.deepcopy(node)
            changed.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield changed, f"{shown} -> {ast.unparse(changed)[:90]}"
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand, f"{shown} -> without not"
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            changed = copy.deepcopy(node)
            changed.op = ARITHMETIC[type(op)]()
            yield changed, f"{shown} -> {ast.unparse(changed)[:90]}"
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value), f"{value} -> {not value}"
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1), f"{value} -> {value + 1}"
        case ast.Constant(value=float(value)):
            yield ast.Constant(value * 2 + 1), f"{value} -> {value * 2 + 1}"
        case ast.Constant(value=str(value)):
            yield ast.Constant("XX" + value), f"{value!r} -> {'XX' + value!r}"
        case ast.Constant(value=bytes(value)):
            yield ast.Constant(b"XX" + value), f"{value!r} -> {b'XX' + value!r}"
        case ast.If() | ast.While() | ast.IfExp():
            for wanted in (True, False):
                changed = copy.deepcopy(node)
                changed.test = ast.Constant(wanted)
                yield changed, f"{ast.unparse(node.test)[:90]} -> always {wanted}"
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(ast.Constant(None)), f"{shown} -> return None"
        case ast.Raise() | ast.Expr() | ast.AugAssign() | ast.Delete():
            yield None, f"{shown} -> deleted"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield None, f"{shown} -> deleted"
        case ast.Continue():
            yield ast.Break(), "continue -> break"
        case ast.Break():
            yield ast.Continue(), "break -> continue"
        case ast.keyword(arg=str(name)):
            yield None, f"{shown} -> argument {name} left out"
        case ast.FunctionDef() if node.decorator_list:
            for number, decorator in enumerate(node.decorator_list):
                if ast.unparse(decorator).split("(")[0].split(".")[-1] not in SHAPING:
                    changed = copy.deepcopy(node)
                    del changed.decorator_list[number]
                    yield changed, f"@{ast.unparse(decorator)} -> left out"
        case ast.Tuple() | ast.List() | ast.Set() if isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
            for number, element in enumerate(node.elts):
                changed = copy.deepcopy(node)
                del changed.elts[number]
                if changed.elts or not isinstance(node, ast.Set):
                    yield changed, f"{ast.unparse(element)[:60]} -> left out of {shown[:50]}"
        case ast.Dict():
            for number, key in enumerate(node.keys):
                if key is not None:
                    changed = copy.deepcopy(node)
                    del changed.keys[number], changed.values[number]
                    yield changed, f"{ast.unparse(key)[:60]} -> left out of {shown[:50]}"


def _replaced(tree: ast.Module, node: ast.AST, field: str, replacement: ast.AST | None) -> ast.Module:
    """Return a copy of the tree with another node in one place."""

    class Replace(ast.NodeTransformer):
        def visit(self, visited: ast.AST) -> ast.AST | None:
            if visited is not node:
                return self.generic_visit(visited)
            if replacement is None and isinstance(visited, ast.stmt):
                return ast.Pass()
            return replacement

    # The transformer works in place: a shallow walk keeps the identity of `node`, so the copy is made afterwards.
    mutated: ast.Module = Replace().visit(copy.deepcopy(tree, {id(node): node}))
    return mutated
