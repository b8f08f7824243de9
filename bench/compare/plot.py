"""The ratios as a bar plot: SVG by hand, readable on light and dark pages."""

from xml.sax.saxutils import escape

BAR = 13
GAP = 22
LEFT = 210
SCALE = 300
# Longer bars are cut off, and say so by their number.
RATIO_MAX = 2.0
RIGHT = 90
COLOURS = {
    "ringress": "#d9480f",
    "nginx": "#2b8a3e",
    "nginx-large": "#8ce99a",
    "haproxy": "#1864ab",
    "haproxy-splice": "#4dabf7",
    "haproxy-large": "#a5d8ff",
    "nginx-next": "#5c940d",
    "nginx-next-large": "#c0eb75",
    "haproxy-next": "#5f3dc4",
    "haproxy-next-splice": "#9775fa",
    "haproxy-next-large": "#d0bfff",
    "haproxy-tcp": "#868e96",
    "pingora": "#e67700",
    "caddy": "#862e9c",
    "go-bare": "#e599f7",
    "go-timeouthandler": "#a61e4d",
}
STYLE = ("text{font:12px system-ui,sans-serif;fill:#495057}.title{font-weight:600}"
         "@media(prefers-color-scheme:dark){text{fill:#ced4da}}")
NAMES = {"cpu_us": "CPU per {unit}", "p99_us": "p99", "pss_bytes": "PSS per connection"}


def svg(results):
    """`results`: pairs of scenario and its result."""
    body, y = [], 40
    for scenario, result in results:
        ratios = result["ratios"].get(scenario.primary)
        if ratios:
            y = group(body, y, scenario, ratios)
    width, height = LEFT + SCALE * RATIO_MAX + RIGHT, y + 10
    line = LEFT + SCALE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" role="img" '
        'aria-label="Ratios to the best of nginx and HAProxy">',
        f"<style>{STYLE}</style>",
        text(LEFT, 18, "ratio to the best of nginx and HAProxy in the same rounds: shorter is better", "start"),
        *body,
        f'<line x1="{line}" y1="26" x2="{line}" y2="{height - 8}" stroke="#868e96" stroke-dasharray="3 3"/>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def group(body, y, scenario, ratios):
    """The bars of one scenario from `y` down; returns where the next one starts."""
    what = NAMES[scenario.primary].format(unit=scenario.unit)
    body.append(text(8, y + BAR - 3, f"{scenario.name}: {what}", "start", "title"))
    y += BAR + 5
    for peer, ratio in ratios["ratios"].items():
        if ratio is None:
            continue
        length = min(ratio, RATIO_MAX) * SCALE
        colour = COLOURS.get(peer, "#868e96")
        body.append(text(LEFT - 8, y + BAR - 3, peer, "end"))
        body.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 2}" fill="{colour}"/>')
        body.append(text(LEFT + length + 5, y + BAR - 3, f"{ratio:.2f}", "start"))
        y += BAR
    return y + GAP


def text(x, y, words, anchor, style=""):
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'
