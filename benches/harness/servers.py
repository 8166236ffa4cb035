"""The servers: the upstream, the two hops that check nothing, the gate, Redis. Each ends with its `with`."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from . import machine
from .install import Tools

CONNECTIONS = 32
PATIENCE = 10.0
"""Seconds that a server has to come up, or to end."""


@dataclass(frozen=True)
class Site:
    """What all servers of a run share."""

    tools: Tools
    folder: Path
    upstream: int


@dataclass
class Server:
    """A server that answers."""

    pid: int
    port: int
    admin: int = 0
    scheme: str = "http"

    def url(self, path: str) -> str:
        """Of what it serves."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"


@dataclass(frozen=True)
class GateOptions:
    """How a gate differs from the one that the others are compared with: nonces off, memory store, no TLS, no log of
    requests."""

    nonces: bool = False
    redis: bool = False
    tls: bool = False
    log: bool = False


@contextmanager
def process(command: list[str], log: Path, measured: bool, env: dict[str, str] | None = None) -> Iterator[int]:
    """A child of ours, ended by its own process id."""
    with log.open("ab") as out, machine.on_the_measured_core() if measured else nullcontext():
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env)
    try:
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def await_port(port: int, log: Path) -> None:
    """Waits until somebody listens."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.005)
    raise RuntimeError(f"nobody listens on port {port}: {log.read_text()[-2000:]}")


NGINX = """
worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path {folder}/{name}.body; proxy_temp_path {folder}/{name}.proxy;
  fastcgi_temp_path {folder}/{name}.fastcgi; uwsgi_temp_path {folder}/{name}.uwsgi; scgi_temp_path {folder}/{name}.scgi;
  large_client_header_buffers 4 16k;
  {http}
}}
"""
HOP = "hop"
ANSWER = 'server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok\\n"; }} }}'
FORWARD = """
  upstream legacy {{ server 127.0.0.1:{upstream}; keepalive {connections}; keepalive_requests 1000000000;
                     keepalive_timeout 1h; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://legacy; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
"""


@contextmanager
def _nginx(tools: Tools, folder: Path, name: str, http_block: str, port: int) -> Iterator[Server]:
    file, log = folder / f"{name}.conf", folder / f"{name}.log"
    file.write_text(NGINX.format(folder=folder, name=name, http=http_block))
    with process([tools.nginx, "-p", str(folder), "-c", str(file)], log, measured=name == HOP) as pid:
        await_port(port, log)
        yield Server(pid, port)


def upstream(tools: Tools, folder: Path) -> AbstractContextManager[Server]:
    """The service behind every proxy: nginx, a constant answer."""
    port = machine.free_port()
    return _nginx(tools, folder, "upstream", ANSWER.format(port=port), port)


def nginx_hop(site: Site) -> AbstractContextManager[Server]:
    """nginx as a plain proxy, kept connections on both sides, no log."""
    port = machine.free_port()
    block = FORWARD.format(upstream=site.upstream, port=port, connections=CONNECTIONS)
    return _nginx(site.tools, site.folder, HOP, block, port)


ENVOY_TYPES = "type.googleapis.com/envoy.extensions"
ENVOY = """
static_resources:
  listeners:
    - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": {types}.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: hop
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": {types}.filters.http.router.v3.Router
                route_config:
                  virtual_hosts:
                    - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: legacy}}}}]}}
  clusters:
    - name: legacy
      type: STATIC
      connect_timeout: 1s
      load_assignment:
        cluster_name: legacy
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""


@contextmanager
def envoy_hop(site: Site) -> Iterator[Server]:
    """Envoy as a plain proxy with one worker, no log, no request ids."""
    port, file, log = machine.free_port(), site.folder / "envoy.yaml", site.folder / "envoy.log"
    file.write_text(ENVOY.format(types=ENVOY_TYPES, port=port, upstream=site.upstream))
    command = [str(site.tools.envoy), "-c", str(file), "--concurrency", "1", "--use-dynamic-base-id",
               "--log-level", "warning"]
    with process(command, log, measured=True) as pid:
        await_port(port, log)
        yield Server(pid, port)


@contextmanager
def redis(folder: Path) -> Iterator[int]:
    """A Redis that keeps nothing on disk; its port."""
    port, log = machine.free_port(), folder / "redis.log"
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
               "--dir", str(folder)]
    with process(command, log, measured=False):
        await_port(port, log)
        yield port


GATE = """
listen: [{{address: "127.0.0.1:{port}"{tls}}}]
admin: {{address: "127.0.0.1:{admin}"}}
issuers:
  - {{issuer: "https://issuer.bench", audiences: ["api://orders"], algorithms: [ES256], token_types: [at+jwt],
      jwks_file: {folder}/jwks.json}}
dpop:
  proof_lifetime: 10m            # proofs are signed before the clock starts
  nonce: {{mode: {nonces}, lifetime: 1h}}
  replay: {{store: {store}{redis}}}
upstreams:
  legacy: {{urls: ["http://127.0.0.1:{upstream}"]}}
routes:
  - {{name: open, match: {{path: /open/}}, upstream: legacy, auth: public}}
  - {{name: orders, match: {{path: /api/}}, upstream: legacy, require: {{scopes: [orders.read]}}}}
"""
TLS = ", tls: {{certificate: {folder}/tls.crt, key: {folder}/tls.key}}"
LOG = "info"
NO_LOG = "info,dpop_gate::access=off"


def gate_command(site: Site, options: GateOptions, redis_port: int) -> tuple[list[str], Server, dict[str, str]]:
    """Writes a configuration: how to start it, where it will be, its environment."""
    port, admin = machine.free_port(), machine.free_port()
    file = site.folder / f"gate-{port}.yaml"
    file.write_text(GATE.format(
        port=port, admin=admin, folder=site.folder, upstream=site.upstream,
        tls=TLS.format(folder=site.folder) if options.tls else "",
        nonces="required" if options.nonces else "off",
        store="redis" if options.redis else "memory",
        redis=f', redis: {{url: "redis://127.0.0.1:{redis_port}/0", timeout: 1s}}' if options.redis else ""))
    env = {**os.environ, "RUST_LOG": LOG if options.log else NO_LOG}
    server = Server(0, port, admin, "https" if options.tls else "http")
    return [str(site.tools.gate), "run", "--config", str(file)], server, env


@contextmanager
def gate(site: Site, options: GateOptions) -> Iterator[Server]:
    """A gate that has just become ready, and has served nobody."""
    if options.redis:
        with redis(site.folder) as port, _gate(site, options, port) as server:
            yield server
    else:
        with _gate(site, options, 0) as server:
            yield server


@contextmanager
def _gate(site: Site, options: GateOptions, redis_port: int) -> Iterator[Server]:
    command, server, env = gate_command(site, options, redis_port)
    log = site.folder / f"gate-{server.port}.log"
    with process(command, log, measured=True, env=env) as pid:
        server.pid = pid
        await_port(server.admin, log)
        await_ready(server.admin)
        yield server
    log.unlink()


def await_ready(admin: int) -> None:
    """Waits for 200 of /readyz."""
    until = time.monotonic() + PATIENCE
    while fetch(admin, "/readyz")[0] != 200:
        if time.monotonic() > until:
            raise RuntimeError("the gate does not become ready")
        time.sleep(0.005)


def fetch(port: int, path: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of one GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read().decode()
    finally:
        connection.close()


def refusals(server: Server) -> dict[str, int]:
    """How many requests the gate has refused, by reason."""
    counted: dict[str, int] = {}
    for line in fetch(server.admin, "/metrics")[2].splitlines():
        if line.startswith("dpop_gate_refusals_total{"):
            reason = line.split('reason="', 1)[1].split('"', 1)[0]
            counted[reason] = counted.get(reason, 0) + int(float(line.rsplit(" ", 1)[1]))
    return {reason: count for reason, count in counted.items() if count}
