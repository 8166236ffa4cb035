"""The rows of the table: who serves, what is sent, what must come of it."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

from . import machine, servers
from .load import Answered, Plain, Signed, status_of, wrk
from .servers import GateOptions, Server, Site

LEAD_SECONDS = 1
LONG_LEAD_SECONDS = 120
"""A lead whose requests are sent once ends when they are."""


@dataclass(frozen=True)
class Measured:
    """One round of one row."""

    cpu_us: float
    """Processor time of the process under test for each answer."""
    rate: float
    p50_ms: float
    p99_ms: float
    resident: int
    idle: int
    """Resident memory before the first request."""
    busy: float
    """Share of its core that the process has used. Below 0.9 something else was slower, and batches were smaller."""


@dataclass(frozen=True)
class Row:
    """A question."""

    name: str
    title: str
    serve: Callable[[Site], AbstractContextManager[Server]]
    traffic: Plain | Signed
    refused: str | None = None
    """The only reason for which these are refused; None: not one is."""

    def measure(self, site: Site, seconds: int) -> Measured:
        """One round: a process of its own, a lead, the measurement, a replay."""
        with self.serve(site) as server:
            idle = machine.resident_bytes(server.pid)
            lead, load = self.traffic.prepare(site, server, seconds)
            wrk(server, lead, LEAD_SECONDS if lead.cycle else LONG_LEAD_SECONDS)
            before, start = machine.cpu_nanoseconds(server.pid), time.monotonic()
            answered = wrk(server, load, seconds)
            used, wall = machine.cpu_nanoseconds(server.pid) - before, time.monotonic() - start
            resident = machine.resident_bytes(server.pid)
            self.judge(server, answered)
            if server.admin and isinstance(self.traffic, Signed) and not self.refused:
                self.replay(server, load.first())
            for file in {lead.file, load.file}:
                file.unlink()
        requests = max(answered.requests, 1)
        return Measured(used / requests / 1000, requests / answered.seconds, answered.p50_ms, answered.p99_ms,
                        resident, idle, used / 1e9 / wall)

    def judge(self, server: Server, answered: Answered) -> None:
        """Every good request was answered, and every bad one refused for its own reason."""
        reasons = servers.refusals(server) if server.admin else {}
        if self.asks_for_a_nonce:
            reasons.pop("missing_token", None)
        wanted = {self.refused} if self.refused else set()
        expected = answered.requests if self.refused else 0
        if answered.requests == 0 or answered.broken or answered.refused != expected or set(reasons) != wanted:
            raise Failure(f"{self.title}: {answered}; refusals by reason: {reasons}")

    @property
    def asks_for_a_nonce(self) -> bool:
        """Whether the bench itself was challenged once."""
        return isinstance(self.traffic, Signed) and self.traffic.nonce

    def replay(self, server: Server, request: bytes) -> None:
        """Nothing of the speed may cost a check: what was sent is refused."""
        status = status_of(server, request)
        if status != 401 or servers.refusals(server).get("replayed") != 1:
            raise Failure(f"{self.title}: a replay was answered with {status}; {servers.refusals(server)}")


class Failure(Exception):
    """The gate did what it must not do."""


def _gate(**options: bool) -> Callable[[Site], AbstractContextManager[Server]]:
    return partial(servers.gate, options=GateOptions(**options))


def _refusal(name: str, title: str, reason: str, traffic: Plain | Signed, **options: bool) -> Row:
    return Row(name, title, _gate(**options), traffic, reason)


BASELINES = ("nginx", "envoy", "nginx-same", "envoy-same")
_AGAIN = Signed(100, lead=3200, again=True)
ROWS = [
    Row("nginx", "nginx, plain hop", servers.nginx_hop, Plain("/open/orders")),
    Row("envoy", "Envoy, unchecked hop", servers.envoy_hop, Plain("/open/orders")),
    # The very requests that the gate gets from its returning clients, forwarded unread.
    Row("nginx-same", "nginx, the same requests", servers.nginx_hop, _AGAIN),
    Row("envoy-same", "Envoy, the same requests", servers.envoy_hop, _AGAIN),
    Row("public", "gate, public route", _gate(), Plain("/open/orders")),
    Row("upload", "POST of 1 KB, public route", _gate(), Plain("/open/orders", body=1024)),
    Row("returning", "100 returning clients", _gate(), Signed(100)),
    Row("nonces", "nonces required", _gate(nonces=True), Signed(100, nonce=True)),
    # Without nonces a shared store that is new takes no proof for the time of `clock_skew`.
    Row("redis", "nonces required, Redis", _gate(nonces=True, redis=True), Signed(100, nonce=True)),
    Row("new", "every request a new client", _gate(), Signed(0, lead=2000, rate=12_000)),
    _refusal("none", "no credentials", "missing_token", Plain("/api/orders")),
    _refusal("malformed", "malformed proof", "malformed_proof", replace(_AGAIN, fault="malformed")),
    _refusal("missing", "nonce missing", "nonce_missing", _AGAIN, nonces=True),
    _refusal("htu", "htu of another URL", "htu_mismatch", replace(_AGAIN, named="/api/other")),
    _refusal("signature", "bad signature, known key", "bad_signature", Signed(100, fault="signature")),
    _refusal("replayed", "replayed", "replayed", _AGAIN),
    Row("tls", "over TLS", _gate(tls=True), Signed(100)),
    Row("log", "with the request log", _gate(log=True), Signed(100)),
    Row("one", "1 returning client", _gate(), Signed(1)),
    Row("ten-thousand", "10,000 returning clients", _gate(), Signed(10_000, lead=30_000)),
    # Twice each before the clock starts: then every key has its table that gets one.
    Row("hundred-thousand", "100,000 returning clients", _gate(), Signed(100_000, lead=220_000, rate=15_000)),
]
