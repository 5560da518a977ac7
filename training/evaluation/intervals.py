"""How far a share, or the difference of two shares of the same reviews, may be from what it would be on all reviews."""

import math

_TWO_SIDED_95, ONE_SIDED_95 = 1.959964, 1.644854


def wilson_interval(right: float, count: float, z: float = _TWO_SIDED_95) -> tuple[float, float]:
    """Interval of a proportion (Wilson 1927): of 95 %, unless `z` is another quantile of the normal distribution."""
    p = right / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return centre - half, centre + half


def paired_interval(lost: int, won: int, count: int) -> tuple[float, float]:
    """95 % interval of the fall in accuracy when, of `count` answers, `lost` turn wrong and `won` turn right.

    Wald's, with half a review added to each of the four cells (Agresti and Min 2005).
    """
    lost_more, won_more, all_more = lost + 0.5, won + 0.5, count + 2
    fall = (lost_more - won_more) / all_more
    half = _TWO_SIDED_95 * math.sqrt(lost_more + won_more - (lost_more - won_more) ** 2 / all_more) / all_more
    return fall - half, fall + half
