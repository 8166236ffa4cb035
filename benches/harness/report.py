"""What is printed: the rows, and the ratios that matter, as text and as Markdown."""

from dataclasses import dataclass, field

from .rows import ROWS, Measured
from .special import LiveProofs, Start

MEGABYTE = 1024 * 1024
BEFORE_SIGNATURES = ("none", "malformed", "missing", "htu")


@dataclass
class Results:
    """All rounds of all rows."""

    rows: dict[str, list[Measured]] = field(default_factory=dict)
    raw_us: list[float] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    proofs: LiveProofs | None = None

    def cpu(self, name: str) -> float | None:
        """The lowest figure of a row: what the machine's noise has not added to."""
        rounds = self.rows.get(name)
        return min(measured.cpu_us for measured in rounds) if rounds else None

    def raw(self) -> float | None:
        """The lowest of the raw verifications."""
        return min(self.raw_us, default=None)


def table(results: Results) -> list[list[str]]:
    """A line for each row that was measured."""
    lines = [["", "CPU us", "highest", "req/s", "p50 ms", "p99 ms", "MB", "core"]]
    for row in ROWS:
        rounds = results.rows.get(row.name, [])
        if not rounds:
            continue
        best, worst = (choose(rounds, key=lambda measured: measured.cpu_us) for choose in (min, max))
        lines.append([row.title, f"{best.cpu_us:.1f}", f"{worst.cpu_us:.1f}", f"{best.rate:,.0f}", f"{best.p50_ms:.2f}",
                      f"{best.p99_ms:.2f}", f"{best.resident / MEGABYTE:.1f}", f"{best.busy:.0%}"])
    if results.raw_us:
        lines.append(["one ES256 verification, AWS-LC", f"{min(results.raw_us):.1f}", f"{max(results.raw_us):.1f}",
                      f"{1e6 / min(results.raw_us):,.0f}", "", "", "", ""])
    return lines


def ratios(results: Results) -> list[list[str]]:
    """What issue 6 asks for: a line each, `-` where a row was not measured."""
    cpu, raw = results.cpu, results.raw()
    public, returning = cpu("public"), cpu("returning")
    early = [_ratio(cpu(name), cpu("nginx")) for name in BEFORE_SIGNATURES]
    many = _ratio(_less(cpu("hundred-thousand"), public), raw)
    proofs = results.proofs
    return [
        ["what", "reach", "beyond", "ours"],
        ["gate, `public` / nginx hop", "1.2", "1.05", _text(_ratio(public, cpu("nginx")))],
        ["100 returning clients / Envoy's unchecked hop", "0.65", "0.53", _text(_ratio(returning, cpu("envoy")))],
        ["the same / nginx hop", "2.7", "2.1", _text(_ratio(returning, cpu("nginx")))],
        ["100 returning clients / their requests through Envoy; nginx", "", "",
         f"{_text(_ratio(returning, cpu('envoy-same')))}; {_text(_ratio(returning, cpu('nginx-same')))}"],
        ["the whole decision (that less `public`) / one raw AWS-LC verification", "0.50", "0.35",
         _text(_ratio(_less(returning, public), raw))],
        ["nonces required / off", "1.05", "", _text(_ratio(cpu("nonces"), returning))],
        ["every request a new client and an ES256 token: decision / raw", "1.6", "1.3",
         _text(_ratio(_less(cpu("new"), public), raw))],
        ["bad signature under a known key, all of the request / raw", "0.65", "0.5",
         _text(_ratio(cpu("signature"), raw))],
        ["a refusal before any signature / nginx hop", "0.65", "0.5", _span(early)],
        ["Redis store / memory store", "1.15", "1.05", _text(_ratio(cpu("redis"), cpu("nonces")))],
        ["TLS keep-alive / plain", "1.12", "", _text(_ratio(cpu("tls"), returning))],
        ["request log on / off", "1.08", "", _text(_ratio(cpu("log"), returning))],
        ["10,000 clients / 100 clients; 100,000: decision / raw, memory", "1.2; 1.1", "",
         f"{_text(_ratio(cpu('ten-thousand'), returning))}; {_text(many)}, {_growth(results)}"],
        ["bytes a live proof at a million; last 100,000 claims / first", "16; 1.1", "10",
         f"{proofs.bytes_each:.1f}; {proofs.last_to_first:.2f}" if proofs else "-"],
        ["idle resident memory, MB; start to first answer, ms", "8; 20", "5; 8", _start(results)],
    ]


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _less(above: float | None, below: float | None) -> float | None:
    return above - below if above is not None and below is not None else None


def _text(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f}"


def _span(numbers: list[float | None]) -> str:
    known = [number for number in numbers if number is not None]
    return f"{min(known):.2f} to {max(known):.2f}" if known else "-"


def _growth(results: Results) -> str:
    sizes = [results.rows.get(name) for name in ("one", "returning", "ten-thousand", "hundred-thousand")]
    return " ".join(f"{rounds[-1].resident / MEGABYTE:.0f}" if rounds else "-" for rounds in sizes) + " MB"


def _start(results: Results) -> str:
    if not results.starts:
        return "-"
    first = min(max(start.ready_ms, start.proxied_ms) for start in results.starts)
    return f"{min(start.resident for start in results.starts) / MEGABYTE:.1f}; {first:.1f}"


def plain(lines: list[list[str]]) -> str:
    """Columns of one width each; numbers to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(width) if column == 0 else text.rjust(width)
                               for column, (text, width) in enumerate(zip(line, widths, strict=True))).rstrip()
                     for line in lines)


def markdown(lines: list[list[str]]) -> str:
    """The same for a README."""
    head, *rest = lines
    rows = [head, ["---"] + ["---:"] * (len(head) - 1), *rest]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
