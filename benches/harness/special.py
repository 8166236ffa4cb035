"""What is no row of requests: one raw verification, a start, the memory of live proofs."""

import re
import socket
import subprocess
import time
from dataclasses import dataclass

from . import machine, servers
from .install import Tools
from .servers import GateOptions, Site

READY = b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
PROXIED = b"GET /open/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Start:
    """From exec to the first answers, and what it takes in memory then."""

    ready_ms: float
    proxied_ms: float
    resident: int


@dataclass(frozen=True)
class LiveProofs:
    """A million of them in the memory store."""

    bytes_each: float
    last_to_first: float
    """Time of the last hundred thousand claims against the first."""


def raw_verification(tools: Tools) -> float:
    """Microseconds of one ES256 verification by AWS-LC, on the measured core."""
    with machine.on_the_measured_core():
        out = subprocess.run([str(tools.traffic), "verify"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return float(out)


def start(site: Site) -> Start:
    """Starts a gate, and asks until it answers."""
    command, server, env = servers.gate_command(site, GateOptions(), 0)
    log = site.folder / "start.log"
    began = time.perf_counter()
    with servers.process(command, log, measured=True, env=env) as pid:
        ready = _first_200(server.admin, READY, began)
        proxied = _first_200(server.port, PROXIED, began)
        time.sleep(0.2)
        return Start(ready, proxied, machine.resident_bytes(pid))


def _first_200(port: int, request: bytes, began: float) -> float:
    """Milliseconds since `began`. Asks from the other core, with nothing but system calls."""
    while time.perf_counter() - began < servers.PATIENCE:
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)) == 0:
                connection.sendall(request)
                if connection.recv(4096).startswith(b"HTTP/1.1 200"):
                    return (time.perf_counter() - began) * 1000
    raise RuntimeError("the gate does not answer after its start")


def live_proofs(tools: Tools) -> LiveProofs:
    """What benches/replay.rs says of a million."""
    with machine.on_the_measured_core():
        out = subprocess.run([str(tools.replay), "memory"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = re.search(r"([\d.]+) bytes each.*; the last hundred thousand claims took ([\d.]+) of the first", out)
    if not found:
        raise RuntimeError(f"benches/replay.rs says {out!r}")
    return LiveProofs(float(found[1]), float(found[2]))
