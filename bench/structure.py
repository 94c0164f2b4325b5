"""How many files a reader has to open to follow a story through the code, and other figures about its structure.

`python -m bench structure` prints, for each of five stories, the files that its calls lead through, the share of
private functions that are used once, and the lines of `portal/`. Nothing is run: names are resolved as Python would.
A function leads to what it calls or names, a class to its bases and its methods, a constant to its own file.
Annotations lead nowhere.
Not counted are the files that every story shares: the ground (files of `portal/` itself and `installation`), `net`,
`vault`, `audit` and `web`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parent.parent / "portal"
SHARED = {"", "installation", "net", "vault", "audit", "web"}
# Where a story begins, and how many of its own files a reader may have to open.
STORIES = {
    "enable a repository": ("portal.repositories.views", "enable", 8),
    "finish the popup": ("portal.authorization.views", "callback", 12),
    "refresh a token": ("portal.credentials.access", "demand_access", 12),
    "show the health page": ("portal.health.views", "show", 10),
    "check a connection": ("portal.health.checks", "check_connection", 15),
}


@dataclass
class Module:
    """One file: what it defines at its top, and where its imported names come from."""

    name: str
    path: Path
    defined: dict[str, ast.AST] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """The folder it is in; empty for the files of `portal/` itself."""
        parts = self.path.relative_to(ROOT).parts
        return parts[0] if len(parts) > 1 else ""


class Tree:
    """Every module of the portal but the sandbox and the migrations."""

    def __init__(self, root: Path = ROOT) -> None:
        self.modules: dict[str, Module] = {}
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if "versions" in parts or parts[0] == "sandbox":
                continue
            name = ".".join(("portal", *parts)).removesuffix(".__init__")
            self.modules[name] = Module(name, path)
        for module in self.modules.values():
            self._read(module)

    def _read(self, module: Module) -> None:
        for node in ast.parse(module.path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                module.defined[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    for name in ast.walk(target):
                        if isinstance(name, ast.Name):
                            module.defined[name.id] = node
        for node in ast.walk(ast.parse(module.path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "portal":
                for alias in node.names:
                    module.imported[alias.asname or alias.name] = (node.module or "", alias.name)

    def resolve(self, module: Module, name: str) -> tuple[Module, str] | None:
        """Return where a name of a module is defined; an empty name for a module itself."""
        while name in module.imported:
            source, own = module.imported[name]
            if inner := self.modules.get(f"{source}.{own}"):
                return inner, ""
            if source not in self.modules:
                return None
            module, name = self.modules[source], own
        return (module, name) if name in module.defined else None

    def closure(self, module: str, function: str) -> set[Path]:
        """Return the files that a function's calls lead through, without the shared ones."""
        start = (self.modules[module], function)
        seen: set[tuple[str, str]] = set()
        waiting = [start]
        files: set[Path] = set()
        while waiting:
            here, name = waiting.pop()
            if (here.name, name) in seen or here.package in SHARED:
                continue
            seen.add((here.name, name))
            files.add(here.path)
            for node in uses(here.defined[name]):
                found = None
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    base = self.resolve(here, node.value.id)
                    if base and not base[1] and node.attr in {*base[0].defined, *base[0].imported}:
                        found = self.resolve(base[0], node.attr)
                elif isinstance(node, ast.Name):
                    found = self.resolve(here, node.id)
                if found and found[1]:
                    waiting.append(found)
        return files

    @cached_property
    def private_uses(self) -> dict[tuple[str, str], int]:
        """How often each private function at the top of a module is named in it, besides its own definition."""
        found = {}
        for module in self.modules.values():
            text = module.path.read_text()
            for name, node in module.defined.items():
                if isinstance(node, ast.FunctionDef) and name.startswith("_") and not name.startswith("__"):
                    found[(module.name, name)] = len(re.findall(rf"(?<![\w.]){name}\b", text)) - 1
        return found


def uses(node: ast.AST) -> Iterator[ast.AST]:
    """Yield every name and attribute of a definition, without its annotations."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Attribute) and isinstance(child.value, ast.Name):
                yield child
            elif isinstance(child, ast.AST):
                if isinstance(child, ast.Name):
                    yield child
                yield from uses(child)


def lines() -> int:
    """Return how many lines `portal/` has without the sandbox and the migrations."""
    return sum(len(module.path.read_text().splitlines()) for module in Tree().modules.values())


def main() -> None:
    """Print every figure."""
    tree = Tree()
    for story, (module, function, most) in STORIES.items():
        files = sorted(str(path.relative_to(ROOT)) for path in tree.closure(module, function))
        print(f"{story}: {len(files)} files (at most {most})\n    {', '.join(files)}")
    once = sum(count == 1 for count in tree.private_uses.values())
    share = once / len(tree.private_uses)
    print(f"private functions used once: {once} of {len(tree.private_uses)}, {share:.0%} (below 33 %)")
    print(f"lines of portal/ without sandbox and migrations: {lines():,}")


if __name__ == "__main__":
    main()
