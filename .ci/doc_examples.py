#!/usr/bin/env python3
"""Checks that every public item has an example in its documentation, and lists the public items.

    .ci/doc_examples.py            exits with 1 if an item has no example
    .ci/doc_examples.py --list     prints the public items, one a line

Items are types, traits, functions, macros, and the public methods of types and traits. The methods that implement a
trait, such as `fmt`, are documented by the trait. An example is a code block that is compiled, so not `text` or `ignore`.
For a method of a trait, an example of the trait that implements the method is enough.
The items come from the JSON of rustdoc, which is still unstable: `RUSTC_BOOTSTRAP` makes the stable rustdoc write it.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

FEATURES = "client,testing,redis,tls"
TARGET = pathlib.Path("target/doc-json")
# Words after ``` with which rustdoc compiles a block.
COMPILED = {"rust", "no_run", "should_panic", "compile_fail", "edition2024"}


def rustdoc_json():
    # A link that leads nowhere without the feature `cli` is an error too: docs.rs builds the documentation without it.
    environment = {
        **os.environ, "RUSTC_BOOTSTRAP": "1", "RUSTDOCFLAGS": "-D warnings", "CARGO_TARGET_DIR": str(TARGET)}
    known = re.search(r"^\[features\]\n(.*?)\n\[", pathlib.Path("Cargo.toml").read_text(), re.S | re.M)[1]
    features = [name for name in FEATURES.split(",") if re.search(rf"^{name} =", known, re.M)]
    subprocess.run(
        ["cargo", "rustdoc", "--locked", "--quiet", "--lib", "--no-default-features", "--features", ",".join(features),
         "--", "-Z", "unstable-options", "--output-format", "json"],
        env=environment, check=True,
    )
    return json.loads((TARGET / "doc" / "standpipe.json").read_text())


def has_example(docs):
    """Returns whether `docs` has a code block that rustdoc compiles."""
    inside = False
    for line in (docs or "").splitlines():
        fence = re.match(r"\s*(?:```+|~~~+)(.*)", line)
        if fence and inside:
            inside = False
        elif fence:
            inside = True
            words = set(re.split(r"[\s,]+", fence[1].strip())) - {""}
            if words <= COMPILED:
                return True
    return False


def public_items(crate):
    """Yields the path, the kind and the docs of each public item."""
    index = crate["index"]

    def item_of(identifier):
        return index.get(str(identifier))

    def methods(name, implementations):
        for identifier in implementations:
            implementation = item_of(identifier)
            inner = implementation and implementation["inner"]["impl"]
            if not inner or inner["trait"] or inner["is_synthetic"] or inner["blanket_impl"]:
                continue
            for method in map(item_of, inner["items"]):
                if method and method["visibility"] == "public" and kind_of(method) == "function":
                    yield f"{name}::{method['name']}", kind_of(method), method["docs"]

    def kind_of(item):
        return next(iter(item["inner"]))

    def walk(module, path):
        for identifier in module["inner"]["module"]["items"]:
            item = item_of(identifier)
            if item is None or item["visibility"] != "public":
                continue
            name = item["name"]
            if kind_of(item) == "use":
                target = item["inner"]["use"]
                name, item = target["name"], item_of(target["id"])
                if item is None or item["crate_id"] != 0:
                    continue  # An item of another crate, which documents it.
            kind = kind_of(item)
            full = f"{path}{name}"
            if kind == "module":
                yield from walk(item, f"{full}::")
                continue
            yield full, kind, item["docs"]
            if kind in ("struct", "enum", "union"):
                yield from methods(full, item["inner"][kind]["impls"])
            elif kind == "trait":
                for part in map(item_of, item["inner"]["trait"]["items"]):
                    if kind_of(part) == "function":
                        docs = part["docs"] or ""
                        if f"fn {part['name']}(" in (item["docs"] or ""):
                            docs += item["docs"]
                        yield f"{full}::{part['name']}", "function", docs

    yield from walk(index[str(crate["root"])], "")


def main():
    items = sorted(public_items(rustdoc_json()))
    if "--list" in sys.argv[1:]:
        for path, kind, _ in items:
            print(kind, path)
        return 0
    if len(items) < 100:
        print(f"only {len(items)} public items were found; has the JSON of rustdoc changed?", file=sys.stderr)
        return 1
    missing = [(path, kind) for path, kind, docs in items if not has_example(docs)]
    for path, kind in missing:
        print(f"no example in the documentation of {path} ({kind})", file=sys.stderr)
    print(f"{len(items)} public items, {len(missing)} without an example")
    return bool(missing)


sys.exit(main())
