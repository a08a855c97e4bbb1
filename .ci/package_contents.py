"""Checks the list of files in the package for crates.io, which is read from standard input. The first argument is the
target directory, with the package that cargo has made."""

import pathlib
import re
import sys
import tomllib

files = set(sys.stdin.read().split())
failed = []

# The files that cargo adds, and those that the package must have.
expected = {"Cargo.toml", "Cargo.lock", "Cargo.toml.orig", ".cargo_vcs_info.json", "README.md", "CHANGELOG.md"}
expected |= {"LICENSE-MIT", "LICENSE-APACHE"}
failed += [f"{name} is missing" for name in ("README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs") if name not in files]
foreign = [name for name in sorted(files - expected) if not name.startswith(("src/", "examples/"))]
failed += [f"{name} does not belong into the package" for name in foreign]

# A relative link of README.md leads to a file of the package, or to a directory with files.
readme = pathlib.Path("README.md").read_text()
links = {link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", readme)}
for link in sorted(link for link in links if link and "://" not in link):
    if link not in files and not any(name.startswith(link.rstrip("/") + "/") for name in files):
        failed.append(f"README.md: {link} is not in the package; write the address at the repository")

# The documents in src are pages of the library's documentation, so a path would lead nowhere.
for document in sorted(pathlib.Path("src").glob("*.md")):
    for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if re.match(r"\.{0,2}/|[\w./-]+\.(md|rs|png|html)\b", link):
            failed.append(f"{document}: {link} is a path; write `crate::…` or an address")

package = tomllib.load(open("Cargo.toml", "rb"))["package"]
for key in ("description", "repository", "documentation", "license", "readme", "keywords", "categories"):
    if not package.get(key):
        failed.append(f"Cargo.toml has no {key}")

crate = pathlib.Path(sys.argv[1], "package", f"{package['name']}-{package['version']}.crate")
size = crate.stat().st_size
# crates.io accepts 10 MiB. This limit notices a directory that was added by mistake.
limit = 2 << 20
if size > limit:
    failed.append(f"the package has {size} bytes, and {limit} are expected at most")
print(f"{len(files)} files, {size} bytes compressed")
for line in failed:
    print(line, file=sys.stderr)
sys.exit(bool(failed))
