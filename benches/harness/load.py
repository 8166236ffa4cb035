"""Traffic: signed before the clock starts, sent by wrk, and one request of it once more at the end."""

import itertools
import signal
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import machine
from .install import ROOT, quietly
from .servers import CONNECTIONS, Server, Site, fetch

RECORDS = ROOT / "benches/wrk/records.lua"
_number = itertools.count()


@dataclass(frozen=True)
class Load:
    """A file of requests."""

    file: Path
    cycle: int = 0
    """0: each is sent once. Else so many of them are sent over and over."""

    def first(self) -> bytes:
        """The request at its head."""
        with self.file.open("rb") as records:
            return records.read(int(records.read(8)))


@dataclass(frozen=True)
class Answered:
    """What wrk has seen."""

    requests: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Plain:
    """The same request without credentials, as often as there is time."""

    path: str
    body: int = 0
    """Bytes to POST; 0: a GET."""

    def prepare(self, site: Site, server: Server, seconds: int) -> tuple[Load, Load]:
        """The lead's load, and the round's."""
        method, length = ("POST", f"Content-Length: {self.body}\r\n") if self.body else ("GET", "")
        head = f"{method} {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{length}\r\n"
        record = head.encode() + b"x" * self.body
        file = site.folder / f"records-{next(_number)}"
        file.write_bytes(b"%08d" % len(record) + record)
        load = Load(file, cycle=1)
        return load, load


@dataclass(frozen=True)
class Signed:
    """Requests with a token and a proof each."""

    clients: int
    """0: every request is a new client's."""
    lead: int = 6_000
    """Requests before the clock starts: connections, caches and tables are then as they are in a long run."""
    rate: int = 30_000
    """More than are answered in a second."""
    fault: str | None = None
    """What `traffic sign` does wrong in the round's requests."""
    nonce: bool = False
    """Whether the proofs carry one."""
    named: str | None = None
    """Another path for the proofs to name."""
    again: bool = False
    """The round sends the lead's requests once more, and over again."""

    def prepare(self, site: Site, server: Server, seconds: int) -> tuple[Load, Load]:
        """Signs what comes before the round, and the round's own."""
        files = [site.folder / f"records-{next(_number)}" for _ in range(1 if self.again else 2)]
        url = server.url("/api/orders")
        command = [str(site.tools.traffic), "sign", "--issuer-key", str(site.folder / "issuer.jwk"), "--url", url,
                   "--clients", str(self.clients)]
        if self.fault:
            command += ["--fault", self.fault]
        if self.named:
            command += ["--htu", server.url(self.named)]
        if self.nonce:
            command += ["--nonce", nonce_of(server)]
        counts = [self.lead, self.rate * seconds]
        command += [f"{file}={count}" for file, count in zip(files, counts, strict=False)]
        quietly(machine.all_cores(command))
        # What was under way when the lead ended may have been lost.
        return Load(files[0]), Load(files[-1], self.lead - 2 * CONNECTIONS if self.again else 0)


def nonce_of(server: Server) -> str:
    """One of the gate's nonces."""
    return fetch(server.port, "/api/orders")[1]["dpop-nonce"]


def wrk(server: Server, load: Load, seconds: int) -> Answered:
    """Sends a load for so long, or until there is none left."""
    command = ["wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "--timeout", "10s", "-s", str(RECORDS),
               server.url("/"), "--", str(load.file), str(load.cycle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        for line in child.stderr or ():
            if line == "dry\n":
                child.send_signal(signal.SIGINT)
        out = child.stdout.read() if child.stdout else ""
    results = [line.split()[1:] for line in out.splitlines() if line.startswith("result ")]
    if not results:
        raise RuntimeError(f"wrk says nothing of use: {out}")
    requests, duration, refused, broken, p50, p99 = results[0]
    return Answered(int(requests), float(duration), int(refused), int(broken), int(p50) / 1000, int(p99) / 1000)


def status_of(server: Server, request: bytes) -> int:
    """Sends one request as it is; the status of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
        connection = plain
        if server.scheme == "https":
            unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
            connection = unverified.wrap_socket(plain)
        connection.sendall(request)
        return int(connection.recv(4096).split(b" ", 2)[1])
