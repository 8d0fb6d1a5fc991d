"""In: the results. Out: a picture of them, as SVG: a bar for each builder, on a logarithmic scale."""

import html
import math

COLOURS = {"lapstrake": "#0b6e4f", "buildah": "#b08968", "docker": "#4a6fa5"}
LEFT, WIDTH, BAR, GAP = 260, 560, 12, 10
LEAST, MOST = 0.001, 1000.0


def at(seconds):
    """Where on the scale."""
    part = (math.log10(min(max(seconds, LEAST), MOST)) - math.log10(LEAST)) / (math.log10(MOST) - math.log10(LEAST))
    return part * WIDTH


def drawn(results):
    """The picture."""
    lines, y = [], 40
    for result in results:
        lines.append(f'<text x="{LEFT - 8}" y="{y + BAR}" text-anchor="end">{html.escape(result["name"] + "  " + result["title"])}</text>')
        for name, each in result["builders"].items():
            label = f"{each['seconds']:.3f} s"
            lines.append(f'<rect x="{LEFT}" y="{y}" width="{at(each["seconds"]):.1f}" height="{BAR - 2}" fill="{COLOURS[name]}"/>')
            lines.append(f'<text x="{LEFT + at(each["seconds"]) + 5:.1f}" y="{y + BAR - 3}" class="small">{label}</text>')
            y += BAR
        y += GAP
    marks = []
    power = round(math.log10(LEAST))
    while power <= round(math.log10(MOST)):
        x = LEFT + at(10.0**power)
        marks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="30" y2="{y}" stroke="#ddd"/><text x="{x:.1f}" y="{y + 14}" text-anchor="middle" class="small">{10.0**power:g} s</text>')
        power += 1
    legend = "".join(
        f'<rect x="{LEFT + 110 * place}" y="8" width="12" height="12" fill="{colour}"/><text x="{LEFT + 110 * place + 17}" y="18">{name}</text>'
        for place, (name, colour) in enumerate(COLOURS.items())
    )
    style = "<style>text{font:13px sans-serif}.small{font-size:10px;fill:#444}</style>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 90} {y + 24}">{style}<rect width="100%" height="100%" fill="#fff"/>'
        f'{legend}{"".join(marks)}{"".join(lines)}</svg>\n'
    )
