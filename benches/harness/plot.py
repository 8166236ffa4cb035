"""The bars of the README: an SVG that reads on light and on dark."""

from html import escape
from pathlib import Path

from .report import Results

BARS = [
    ("nginx", "nginx, forwards", "other"),
    ("envoy", "Envoy, forwards", "other"),
    ("raw", "one ES256 verification, AWS-LC", "other"),
    ("public", "dpop-gate, forwards", "ours"),
    ("returning", "dpop-gate, every check, client comes back", "ours"),
    ("new", "dpop-gate, every check, client never seen", "ours"),
    ("malformed", "dpop-gate, refuses a malformed proof", "ours"),
]
WIDTH, LABELS, STEP, BAR, TOP = 760, 300, 30, 16, 46
STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #57606a }
  .title { font-weight: 600; fill: #24292f }
  .value { font-variant-numeric: tabular-nums }
  .other { fill: #8c959f } .ours { fill: #0a7d6c } .axis { stroke: #8c959f; stroke-opacity: .35 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 } .title { fill: #f0f6fc } .other { fill: #6e7681 } .ours { fill: #2fb8a2 }
  }
"""


def write(results: Results, file: Path, caption: str) -> None:
    """Draws what was measured of [`BARS`]."""
    figures = ((label, kind, results.raw() if name == "raw" else results.cpu(name)) for name, label, kind in BARS)
    bars = [(label, kind, figure) for label, kind, figure in figures if figure is not None]
    longest = max((figure for _, _, figure in bars), default=1.0)
    height = TOP + STEP * len(bars) + 34
    title = "Processor time of one request, microseconds: shorter is better"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">',
        f"<style>{STYLE}</style>",
        f'<text class="title" x="0" y="18">{title}</text>',
        f'<line class="axis" x1="{LABELS}" x2="{LABELS}" y1="{TOP - 10}" y2="{TOP + STEP * len(bars) - 4}"/>',
    ]
    for number, (label, kind, figure) in enumerate(bars):
        y = TOP + STEP * number
        length = figure / longest * (WIDTH - LABELS - 60)
        parts += [
            f'<text x="{LABELS - 10}" y="{y + BAR - 4}" text-anchor="end">{escape(label)}</text>',
            f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>',
            f'<text class="value" x="{LABELS + length + 8:.1f}" y="{y + BAR - 4}">{figure:.1f}</text>',
        ]
    parts += [f'<text x="0" y="{height - 8}">{escape(caption)}</text>', "</svg>", ""]
    file.write_text("\n".join(parts))
