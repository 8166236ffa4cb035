"""Which functions the gate runs through until it has answered: callgrind sees each of them.

They are few and lie far apart, and the kernel maps a program by 64 KiB; next to one another (`benches/layout/build.rs`)
they take little more than half of the memory."""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .install import ROOT
from .instructions import under_callgrind
from .load import status_of
from .rows import ROWS
from .servers import Site

LIST = ROOT / "benches/layout/start"
HEAD = """\
# The functions that a start runs through, for benches/layout/build.rs. Made by `benches/run --layout`.
# A name is a pattern: what depends on the compiler's version is left out where few others fit.
"""
STARTS = ("public", "tls")
"""Rows whose gates are started: over TLS comes second, so that what it takes in addition stands by itself."""
SPARE = 4 * 1024
"""Bytes of others that may come along with a function: they cost less than it does where it is not found any more."""
NAMED = re.compile(r"(c?fn|c?ob)=\((\d+)\)(?: (.+))?$")
LEGACY, SUFFIX = re.compile(r"(?<=17h)[0-9a-f]{16}E.*$"), re.compile(r"\.(llvm\.)?\d+$")
V0_CRATE = re.compile(r"(?<=C)s[0-9A-Za-z]*_")


@dataclass(frozen=True)
class Function:
    """One of the program's: names that are alike stand at the same place."""

    address: int
    size: int
    name: str


def write(site: Site) -> int:
    """Writes the list; how many patterns it has."""
    functions = _functions(site.tools.gate)
    patterns: dict[str, None] = {}
    rows = {row.name: row for row in ROWS}
    for name in STARTS:
        counted = site.folder / f"callgrind-{name}"
        with rows[name].serve(under_callgrind(site, counted, "--demangle=no")) as server:
            request = f"GET /open/orders HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n"
            status_of(server, request.encode())
            subprocess.run(["callgrind_control", "--dump", str(server.pid)], stdout=subprocess.DEVNULL, check=True)
        patterns |= dict.fromkeys(_patterns(functions, _executed(Path(f"{counted}.1"), site.tools.gate)))
    LIST.write_text(HEAD + "".join(f"{pattern}\n" for pattern in patterns))
    return len(patterns)


def _functions(gate: Path) -> list[Function]:
    listed = subprocess.run(["nm", "--print-size", str(gate)], capture_output=True, text=True, check=True).stdout
    words = (line.split() for line in listed.splitlines())
    return [Function(int(each[0], 16), int(each[1], 16), each[3]) for each in words if len(each) == 4 and each[2] in "tTwW"]


def _executed(file: Path, gate: Path) -> set[str]:
    """Names of the functions of the gate's own file that have cost something."""
    known: dict[tuple[str, str], str] = {}
    executed, inside = set(), False
    for found in filter(None, map(NAMED.match, file.read_text().splitlines())):
        kind, number, name = found.groups()
        key = kind[-2:], number
        if name:
            known[key] = name
        if kind == "ob":
            inside = Path(known[key]).name == gate.name
        elif kind == "fn" and inside:
            executed.add(re.sub(r"'\d+$", "", known[key]))
    return executed


def _patterns(functions: list[Function], executed: set[str]) -> Iterable[str]:
    """What fits those, and few others."""
    places = {function.address for function in functions if function.name in executed}
    fitting: dict[str, dict[int, int]] = {}
    for function in functions:
        fitting.setdefault(_pattern(function.name), {})[function.address] = function.size
    for function in sorted(functions, key=lambda function: function.address):
        if function.address in places:
            pattern = _pattern(function.name)
            wanted = places & fitting[pattern].keys()
            others = sum(size for address, size in fitting[pattern].items() if address not in wanted)
            yield pattern if others <= SPARE * len(wanted) else SUFFIX.sub("*", function.name)


def _pattern(name: str) -> str:
    """The name without the hashes of the compiler's version."""
    return V0_CRATE.sub("*_", SUFFIX.sub("*", name)) if name.startswith("_R") else LEGACY.sub("*", name)
