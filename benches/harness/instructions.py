"""How many instructions of the gate's own a request takes, and where: callgrind counts them while a row runs.

Time depends on the machine and on its neighbours; this does not, so it shows what a change has changed. It sees nothing of
the kernel, nor of what the processor does by itself: valgrind has no SHA instructions, so digests cost far more here."""

import dataclasses
import re
import subprocess
from pathlib import Path

from . import servers
from .load import wrk
from .rows import LEAD_SECONDS, LONG_LEAD_SECONDS, Row
from .servers import Site

SHOWN = 150
"""Functions with fewer instructions a request are left out."""
STARTING = 60.0
"""Seconds that a program may take to start under valgrind."""
LINE = re.compile(r"^\s*([\d,]+)\s*(?:\([^)]*\))?\s+(.*)$")


def count(site: Site, row: Row, seconds: int) -> str:
    """A table: instructions a request by function, without and with what they call."""
    counted = site.folder / "callgrind"
    with row.serve(under_callgrind(site, counted, "--instr-atstart=no")) as server:
        lead, load = row.traffic.prepare(site, server, seconds)
        wrk(server, lead, LEAD_SECONDS if lead.cycle else LONG_LEAD_SECONDS)
        control = ["callgrind_control", "--instr=on", str(server.pid)]
        subprocess.run(control, stdout=subprocess.DEVNULL, check=True)
        answered = wrk(server, load, seconds)
    requests = max(answered.requests, 1)
    return "\n\n".join(f"{row.title}, {requests} requests: {what}\n{_annotated(counted, requests, inclusive)}"
                       for what, inclusive in (("by themselves", "no"), ("with what they call", "yes")))


def under_callgrind(site: Site, counted: Path, option: str) -> Site:
    """The same site, whose gates run under callgrind and write to that file."""
    wrapped = site.folder / "gate-under-callgrind"
    wrapped.write_text(f"#!/bin/sh\nexec valgrind --tool=callgrind {option} --callgrind-out-file={counted} "
                       f"{site.tools.gate} \"$@\"\n")
    wrapped.chmod(0o755)
    servers.PATIENCE = STARTING
    return dataclasses.replace(site, tools=dataclasses.replace(site.tools, gate=wrapped))


def _annotated(counted: object, requests: int, inclusive: str) -> str:
    command = ["callgrind_annotate", f"--inclusive={inclusive}", "--threshold=100", str(counted)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = []
    for line in filter(None, map(LINE.match, text.splitlines())):
        each = int(line[1].replace(",", "")) / requests
        name = re.sub(r"::h[0-9a-f]{16}|\s*\[[^\]]*\]$", "", line[2])
        if each >= SHOWN:
            lines.append(f"{each:9.0f} {name[:150]}")
    return "\n".join(lines)
