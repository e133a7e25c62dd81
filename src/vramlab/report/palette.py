"""The colours of the figures, on a light and on a dark ground."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

from matplotlib.colors import to_hex, to_rgb


@dataclass(frozen=True)
class Theme:
    """Colours of the figures on one ground. Text has a contrast of at least 4.5 to 1 with it."""

    ground: str
    text: str
    muted: str
    """Of what stands back: axes, ticks, notes."""
    grid: str
    baseline: str
    """Of the technique that the others are compared with."""
    palette: tuple[str, ...]
    """Of the other techniques; each at least 3 to 1 against the ground."""
    parts: tuple[str, ...]
    """Of what a whole is made of, side by side in a bar; always with a hatch and an outline."""


# Okabe and Ito's set (2008), then Tol's "muted" (2021), safe for the colour-blind; what is too
# light on white is darkened, what is too dark on black lightened, its hue kept.
LIGHT = Theme(
    ground="#ffffff",
    text="#1f1f1f",
    muted="#666666",
    grid="#e4e4e4",
    baseline="#222222",
    palette=(
        *("#0072B2", "#D55E00", "#009E73", "#B8578F", "#B37A00", "#2F8FC7"),
        *("#882255", "#7C7C22", "#332288", "#2F8577", "#AA4499", "#117733", "#661100", "#5580B4"),
    ),
    # Tol's "muted" set: what lasts is dark, what a step makes is light.
    parts=(
        *("#332288", "#117733", "#882255", "#44AA99", "#88CCEE", "#DDCC77", "#CC6677"),
        *("#AA4499", "#E69F00", "#999999", "#0072B2", "#661100", "#DDDDDD"),
    ),
)
DARK = Theme(
    ground="#14171a",
    text="#ececec",
    muted="#a3a8ad",
    grid="#30353a",
    baseline="#f2f2f2",
    palette=(
        *("#4CA6DD", "#F07F3C", "#2BC297", "#E39AC4", "#F0B93A", "#8ED2F7"),
        *("#D4709F", "#C6C65A", "#9C8DF0", "#66CCBB", "#D080C4", "#4FB56F", "#E08A72", "#92BCE8"),
    ),
    parts=(
        *("#9C8DF0", "#4FB56F", "#D4709F", "#44AA99", "#88CCEE", "#DDCC77", "#D97A88"),
        *("#D080C4", "#E69F00", "#8c8c8c", "#4CA6DD", "#E08A72", "#5c6065"),
    ),
)
SHARES = (0.35, 0.65, 1.0)
"""How much of a colour stands in a mixture with the ground."""


def tint(colour: str, share: float, theme: Theme = LIGHT) -> str:
    """`colour` mixed with the ground: the whole colour at 1, the ground at 0."""
    pairs = zip(to_rgb(colour), to_rgb(theme.ground), strict=True)
    red, green, blue = (share * part + (1 - share) * ground for part, ground in pairs)
    return to_hex((red, green, blue))


def _shades(theme: Theme) -> Iterator[str]:
    """All colours of a theme and their mixtures, in an order that is that of every theme."""
    for field in fields(theme):
        value = getattr(theme, field.name)
        for colour in (value,) if isinstance(value, str) else value:
            yield from (tint(colour, share, theme) for share in SHARES)


IN_THE_DARK = dict(zip(_shades(LIGHT), _shades(DARK), strict=True))
"""The dark counterpart of every colour that a figure has; both as `#rrggbb` in lower case."""
