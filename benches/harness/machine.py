"""This machine: which core is whose, what a process has used, free ports."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEASURED = 0
"""The core of the process under test, alone."""
REST = 1
"""The core of wrk, the upstream, Redis and this script."""


def take_the_second_core() -> None:
    """Everything that is started from here on runs beside what is measured, unless it says otherwise."""
    os.sched_setaffinity(0, {REST})


@contextmanager
def on_the_measured_core() -> Iterator[None]:
    """For the time of a `with`: what is started runs on the core of the process under test."""
    os.sched_setaffinity(0, {MEASURED})
    try:
        yield
    finally:
        os.sched_setaffinity(0, {REST})


def all_cores(command: list[str]) -> list[str]:
    """The command, on every core: for what is done before the clock starts."""
    return ["taskset", "-c", f"0-{(os.cpu_count() or 2) - 1}", *command]


def family(pid: int) -> list[int]:
    """A process and its children: nginx' master and its worker, say."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(int(child) for child in children)]


def cpu_nanoseconds(pid: int) -> int:
    """Processor time of every thread that is alive, the kernel's on its behalf included."""
    total = 0
    for member in family(pid):
        for task in Path(f"/proc/{member}/task").glob("*/schedstat"):
            total += int(task.read_text().split()[0])
    return total


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its children."""
    total = 0
    for member in family(pid):
        for line in Path(f"/proc/{member}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processor() -> str:
    """Its name, and how many cores there are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'a processor'}, {os.cpu_count()} cores"
