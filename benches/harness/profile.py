"""Writes benches/profile/gate.profdata: how often the functions of a gate are called and their branches taken while the rows
run. The release is compiled with it (benches/profile/rustc).

A function keeps its counts for as long as its own branches are the same, and its name: with another compiler, or another
version of a dependency that it is generic in, it has none, and is compiled as ever."""

import dataclasses
import subprocess
from pathlib import Path

from . import install
from .install import ROOT, quietly, say
from .rows import BASELINES, ROWS
from .servers import Site

PROFILE = ROOT / "benches/profile/gate.profdata"
RAW = ROOT / "target/profile/raw"
"""What the gates write."""
MERGE = "llvm-profdata-19"
"""It has to know what the compiler's LLVM writes, which is a newer one."""
OTHERS = (*BASELINES, "one", "ten-thousand", "hundred-thousand")
"""Rows that no gate runs, or whose branches are those of `returning`."""
FLOOR = 1000
"""What no row does so often is not in the profile: it would be nine tenths of it."""


def write(site: Site, seconds: int) -> int:
    """Runs every row on gates that count; how many functions the profile has."""
    install.packages({MERGE: "llvm-19"})
    counted = [_counted(site, gate, site.folder / f"counted-{number}.profdata", seconds)
               for number, gate in enumerate(install.counting(RAW))]
    text = site.folder / "profile.text"
    quietly([MERGE, "merge", "--text", "-o", str(text), *map(str, counted)])
    head, functions = _parts(text.read_text())
    frequent = [function for function in functions if _most(function) >= FLOOR]
    text.write_text("\n\n".join([head + frequent[0], *frequent[1:]]) + "\n")
    quietly([MERGE, "merge", "--sparse", "-o", str(PROFILE), str(text)])
    return len(frequent)


def _counted(site: Site, gate: Path, counted: Path, seconds: int) -> Path:
    """The counts of one gate, in that file."""
    # The compiler's own plug-ins have counted while it was built.
    for file in RAW.glob("*.profraw"):
        file.unlink()
    site = dataclasses.replace(site, tools=dataclasses.replace(site.tools, gate=gate))
    for row in ROWS:
        if row.name not in OTHERS:
            row.measure(site, seconds)
            say(f"  {row.title}")
    quietly([MERGE, "merge", "--sparse", "-o", str(counted), *map(str, RAW.glob("*.profraw"))])
    return counted


def _parts(text: str) -> tuple[str, list[str]]:
    """Of LLVM's text: the lines at its head, and the functions."""
    lines = text.splitlines(keepends=True)
    length = next(index for index, line in enumerate(lines) if line[0] not in ":#")
    return "".join(lines[:length]), "".join(lines[length:]).strip().split("\n\n")


def _most(function: str) -> int:
    """The highest of its counts."""
    lines = function.splitlines()
    begin = lines.index("# Counter Values:")
    return max(int(line) for line in lines[begin + 1:begin + 1 + int(lines[begin - 1])])
