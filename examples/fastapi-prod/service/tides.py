from math import cos, radians

from pydantic import BaseModel


class Constituent(BaseModel):
    """One harmonic part of a tide: metres, degrees an hour, degrees."""

    amplitude: float
    speed: float
    phase: float = 0.0


def height(hours: float, constituents: list[Constituent]) -> float:
    """Metres above the mean level, that many hours after the constituents' origin."""
    return round(sum(c.amplitude * cos(radians(c.speed * hours - c.phase)) for c in constituents), 3)
