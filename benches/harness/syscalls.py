"""How many system calls a request takes: strace counts them while a row runs."""

import re
import signal
import subprocess
import time

from . import machine
from .load import wrk
from .rows import LEAD_SECONDS, LONG_LEAD_SECONDS, Row
from .servers import Site

CALLS = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:(\d+)\s+)?(\w+)$")


def count(site: Site, row: Row, seconds: int) -> str:
    """A table: calls of each kind, all and for one request. Times under strace mean nothing, so there are none."""
    with row.serve(site) as server:
        lead, load = row.traffic.prepare(site, server, seconds)
        wrk(server, lead, LEAD_SECONDS if lead.cycle else LONG_LEAD_SECONDS)
        summary = site.folder / "strace"
        members = [part for pid in machine.family(server.pid) for part in ("-p", str(pid))]
        with subprocess.Popen(["strace", "-f", "-c", "-o", str(summary), *members], stderr=subprocess.PIPE) as tracer:
            time.sleep(0.5)
            answered = wrk(server, load, seconds)
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
    counted = [match for match in map(CALLS.match, summary.read_text().splitlines()) if match and match[3] != "total"]
    lines = [f"{row.title}: {answered.requests} requests", f"{'call':16} {'count':>9} {'errors':>9} {'a request':>10}"]
    for match in sorted(counted, key=lambda match: -int(match[1])):
        calls = int(match[1])
        lines.append(f"{match[3]:16} {calls:9} {match[2] or 0:>9} {calls / max(answered.requests, 1):10.3f}")
    return "\n".join(lines)
