"""A chart of a few lines over two logarithmic axes, as SVG: readable in light and dark."""

from collections.abc import Mapping
from html import escape
from itertools import cycle
from math import ceil, floor, log10

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 60, 170, 20, 45
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#b15928")
LINE = 16  # pixels between the names of two lines, at least

Points = Mapping[int, float]


def chart(lines: Mapping[str, Points], x: str, y: str) -> str:
    """``lines``: by name the y of each x, all positive; ``x``, ``y``: what the axes are."""
    xs = [log10(at) for points in lines.values() for at in points]
    ys = [log10(value) for points in lines.values() for value in points.values()]
    (left, right), (low, high) = ((floor(min(v)), ceil(max(v))) for v in (xs, ys))

    def across(at: float) -> float:
        return LEFT + (at - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def up(at: float) -> float:
        return HEIGHT - BOTTOM - (at - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for power in range(left, right + 1):
        at = across(power)
        parts.append(f'<path class="grid" d="M{at:.0f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(_text(at, HEIGHT - BOTTOM + 18, f"{10**power:,}", "middle"))
    for power in range(low, high + 1):
        at = up(power)
        parts.append(f'<path class="grid" d="M{LEFT} {at:.0f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 6, at + 4, f"{10.0**power:,g}", "end"))
    parts.append(_text(across((left + right) / 2), HEIGHT - 8, x, "middle"))
    parts.append(_text(LEFT, TOP - 6, y, "start"))
    ends = sorted(lines, key=lambda name: -lines[name][max(lines[name])])
    below = float(TOP)
    for name, colour in zip(ends, cycle(COLOURS), strict=False):
        points = [(across(log10(at)), up(log10(v))) for at, v in sorted(lines[name].items())]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
        parts += [
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>' for px, py in points
        ]
        below = max(below + LINE, points[-1][1] + 4)
        parts.append(_text(WIDTH - RIGHT + 8, below, name, "start", colour))
    style = "text{font:12px sans-serif;fill:#777}.grid{stroke:#8884;fill:none}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(y)} by {escape(x)}"><style>{style}</style>{"".join(parts)}</svg>\n'
    )


def _text(x: float, y: float, text: str, anchor: str, colour: str = "") -> str:
    fill = f' style="fill:{colour}"' if colour else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{fill}>{escape(text)}</text>'
