#!/usr/bin/env python3
"""Checks the imports between the files of src/: there is no cycle, and no import that FORBIDDEN lists.

    .ci/imports.py [SRC]

A file imports another if it names something that the other defines: in a `use`, or as a path in the code. A name that a
module re-exports (`pub use`) counts as an import of the file that defines it. A `mod` line is not an import, because it
only lists a child. Tests and test doubles (`tests/`, `testing/`, `#[cfg(test)]` modules) are left out.

Exits with 1 if there is a cycle or an import that a rule forbids.
"""
import os
import re
import sys

# The layers of the modules: (folder or file, what it may not import, why).
FORBIDDEN = [
    ("connection", ["server", "handler", "hub", "events", "cli"], "connection/ knows no server, no handler and no topic"),
    ("hub", ["server", "handler", "events", "cli", "connection::socket"], "hub/ knows no server and no socket"),
    ("http", ["server", "handler", "hub", "events", "cli", "connection"], "http/ knows requests and answers only"),
    ("server", ["hub", "events", "cli"], "server/ knows no topic"),
    ("client", ["server", "handler", "hub", "events", "cli"], "the client knows no server"),
    ("handler", ["server", "hub", "events", "cli"], "the handler is called by the server"),
    ("events", ["hub", "cli"], "events are built on the server"),
    ("roster", ["server", "handler", "hub", "events", "cli"], "a roster knows outboxes only"),
    *[(base, ["server", "handler", "hub", "events", "cli", "connection", "http"], "the base modules know no other")
      for base in ("clock", "config", "error", "escape", "panic", "rate", "sweep", "sync", "trusted_proxy", "watch")],
]


# Imports that may close a cycle: (file, imported file). An engine is called with a topic, and the topic's hub calls it, so
# the types refer to each other. Only the signatures of the trait do.
SEAMS = {(("hub", "engine"), ("hub", "topic"))}

# Modules whose name is not that of their folder (`#[path]` in lib.rs).
RENAMED = {"http1": "http"}


def module_files(src):
    """Returns a map from the path of each module (a tuple) to its file."""
    modules = {}
    for directory, _, names in os.walk(src):
        parts = os.path.relpath(directory, src).split(os.sep)
        parts = [] if parts == ["."] else parts
        if "tests" in parts or "testing" in parts or "fuzzing" in parts:
            continue
        for name in names:
            if not name.endswith(".rs") or name in ("lib.rs", "main.rs", "tests.rs", "args_tests.rs"):
                continue
            module = parts if name == "mod.rs" else parts + [name[:-3]]
            modules[tuple(module)] = os.path.join(directory, name)
    return modules


def code_of(path):
    """Returns the source without comments, strings, and the `#[cfg(test)]` modules at its end."""
    text = open(path, encoding="utf-8").read()
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', text)
    text = re.sub(r"//[^\n]*", "", text)
    return re.sub(r'#\[cfg\(test\)\]\s*(#\[[^\]]*\]\s*)*mod \w+\s*[;{].*', "", text, flags=re.S)


def leaves(tree):
    """`a::{b, c::{d}}` -> [[a, b], [a, c, d]]; `as` names and globs are left out."""
    tree = tree.strip()
    if "{" not in tree:
        parts = [part.strip() for part in re.split(r"\s+as\s+", tree)[0].split("::")]
        return [[part for part in parts if part not in ("*", "")]]
    head, rest = tree.split("{", 1)
    inner, depth, start, found = rest.rsplit("}", 1)[0], 0, 0, []
    for at, char in enumerate(inner + ","):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            if inner[start:at].strip():
                found.append(inner[start:at])
            start = at + 1
    base = [part for part in head.strip().rstrip(":").split("::") if part.strip()]
    return [base + [part for part in leaf if part != "self"] for piece in found for leaf in leaves(piece)]


def absolute(path, module, is_folder):
    """Returns the path from the crate's root, or None if the path leads out of the crate."""
    if path[0] == "crate":
        return [RENAMED.get(part, part) for part in path[1:2]] + path[2:]
    here = list(module) if is_folder else list(module[:-1])
    if path[0] == "self":
        return list(module) + path[1:]
    if path[0] == "super":
        here = list(module[:-1])
        path = path[1:]
        while path and path[0] == "super":
            here, path = here[:-1], path[1:]
        return here + path
    return None


class Tree:
    def __init__(self, src):
        self.modules = module_files(src)
        self.code = {module: code_of(path) for module, path in self.modules.items()}
        self.exports = {}
        for module, code in self.code.items():
            exports = {}
            for tree in re.findall(r"\bpub(?:\(\w+\))? use ([^;]+);", code):
                for leaf in leaves(tree):
                    full = absolute(leaf, module, self.is_folder(module)) or self.child(module, leaf)
                    if full:
                        exports[leaf[-1]] = full
            self.exports[module] = exports

    def is_folder(self, module):
        return self.modules[module].endswith("mod.rs")

    def child(self, module, leaf):
        """Returns the path that `pub use child::Name`, without `self`, means, or None if there is no such child."""
        return list(module) + leaf if (*module, leaf[0]) in self.modules else None

    def resolve(self, path):
        """Returns the module that defines the name at the end of the path, or None for a name of the crate's root."""
        for length in range(len(path), 0, -1):
            module = tuple(path[:length])
            if module in self.modules:
                rest = path[length:]
                if rest and rest[0] in self.exports[module]:
                    return self.resolve(self.exports[module][rest[0]])
                return module
        return None

    def imports(self, module):
        """Yields the target module (or None) and the path as written, for every import."""
        code, is_folder = self.code[module], self.is_folder(module)
        paths = [leaf for tree in re.findall(r"\buse ([^;]+);", code) for leaf in leaves(tree)]
        rest = re.sub(r"\buse [^;]+;", "", code)
        paths += [path.split("::") for path in re.findall(r"\b(?:crate|super|self)(?:::\w+)+", rest)]
        for path in paths:
            full = absolute(path, module, is_folder) or self.child(module, path)
            if full is None:
                continue
            target = self.resolve(full)
            if target != module:
                yield target, "::".join(path)


def cycles(graph):
    """Returns the strongly connected components with more than one member (Tarjan's algorithm)."""
    index, low, stack, on_stack, found, counter = {}, {}, [], set(), [], [0]

    def visit(node):
        index[node] = low[node] = counter[0]
        counter[0] += 1
        stack.append(node)
        on_stack.add(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on_stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while True:
                other = stack.pop()
                on_stack.discard(other)
                component.append(other)
                if other == node:
                    break
            if len(component) > 1:
                found.append(sorted(component))

    sys.setrecursionlimit(10_000)
    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def main():
    src = sys.argv[1] if len(sys.argv) > 1 else "src"
    tree = Tree(src)
    graph, failed, count = {}, False, 0
    for module in sorted(tree.modules):
        name, targets = tree.modules[module], set()
        for target, written in tree.imports(module):
            if target is None:
                print(f"{name} imports {written} from the crate's root: name the module that defines it", file=sys.stderr)
                failed = True
                continue
            targets.add(target)
            for folder, forbidden, why in FORBIDDEN:
                if module[0] != folder:
                    continue
                for other in forbidden:
                    if target[:len(other.split("::"))] == tuple(other.split("::")):
                        print(f"{name} imports {written}: {why}", file=sys.stderr)
                        failed = True
        # The re-exports of a module were resolved above to the files that define the names.
        graph[module] = {target for target in targets if (module, target) not in SEAMS}
        count += len(targets)
    for component in cycles(graph):
        names = ", ".join(tree.modules[module] for module in component)
        print(f"these files form an import cycle: {names}", file=sys.stderr)
        failed = True
    print(f"{len(graph)} files with {count} imports between them" + ("" if failed else ", no cycle, no forbidden import"))
    sys.exit(failed)


if __name__ == "__main__":
    main()
