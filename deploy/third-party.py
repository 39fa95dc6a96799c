#!/usr/bin/env python3
"""Licences of what is linked into `fourwave`: every crate with its licence, then each text once. To be run in the workspace."""

import json
import pathlib
import subprocess

# Of Debian's libraries, which are linked when the program starts, crates have the sources as well; nor is anything else of these used.
NOT_LINKED = {"elfutils", "zlib", "doc", "docs", "tests"}
TEXTS = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


tree = ("cargo", "tree", "--locked", "--package", "fourwave-cli", "--edges", "normal", "--prefix", "none")
linked = {tuple(line.split()[:2]) for line in run(*tree).splitlines() if line}
metadata = json.loads(run("cargo", "metadata", "--locked", "--format-version", "1"))
crates = sorted(
    (
        package
        for package in metadata["packages"]
        if package["source"] and (package["name"], "v" + package["version"]) in linked
    ),
    key=lambda package: (package["name"], package["version"]),
)
texts = {}
print("What is linked into fourwave beside its own code, with licences; the texts are below.\n")
for package in crates:
    name = f"{package['name']} {package['version']}"
    print(f"{name}: {package['license'] or 'see its text'}, {package['repository'] or ''}".rstrip(", "))
    folder = pathlib.Path(package["manifest_path"]).parent
    # Libraries in C are inside the crates that compile them.
    for path in sorted(folder.rglob("*")):
        if NOT_LINKED.intersection(path.relative_to(folder).parts):
            continue
        if path.is_file() and path.name.upper().startswith(TEXTS) and path.suffix not in (".rs", ".c", ".h", ".py"):
            text = path.read_text(encoding="utf-8", errors="replace").strip()
            texts.setdefault(text, []).append(f"{name} ({path.relative_to(folder)})")
for text, names in texts.items():
    print(f"\n{'=' * 100}\n{', '.join(names)}\n{'=' * 100}\n{text}")
