"""Scales that are linear near zero and logarithmic far from it: logicle and FlowJo's biexponential, both ways."""

from __future__ import annotations

from math import exp, expm1, isfinite, log, log10
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cellprec.cytometry.scales.curve import Biexponential
from cellprec.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# FlowJo shows 4096 channels, and counts 4097 of them in its exponents
_CHANNELS: Final = 4096
_COUNTED: Final = 4097
# a double holds e**709; beyond this the sums of two exponentials would not be finite
_DECADES_MAX: Final = 300.0


def logicle(values: ArrayLike, *, t: float, m: float = 4.5, w: float = 0.5, a: float = 0.0) -> NDArray[Any]:
    """Put linear values on the logicle scale, where 1 is the top and populations round zero stay one cloud.

    values: any shape; float32 gives float32, everything else float64. t: the linear value that becomes 1. m: decades.
    w: decades that are nearly linear. a: more decades below zero (fewer if negative). Values beyond t and far below
    zero follow the same curve; nan stays nan, an infinity stays one. Raises UsageError unless t > 0, m > 0,
    0 <= 2 w <= m and -w <= a <= m - 2 w.
    Source: Moore and Parks 2012, Cytometry A 81A:273, and Gating-ML 2.0; solved by Newton's method at the nodes of a
    table and by cubic Hermite pieces between them, with an error below 1e-11 for up to 4.5 decades.

    >>> logicle([0, 1000, 262144], t=262144).round(4).tolist()
    [0.1111, 0.4543, 1.0]
    """
    return logicle_scale(t=t, m=m, w=w, a=a).to_scale(values)


def logicle_inverse(values: ArrayLike, *, t: float, m: float = 4.5, w: float = 0.5, a: float = 0.0) -> NDArray[Any]:
    """Return the linear values that stand at given places of the logicle scale.

    Parameters, types and errors are those of ``logicle``.

    >>> logicle_inverse([0.25, 1.0], t=262144).round(3).tolist()
    [148.309, 262144.0]
    """
    return logicle_scale(t=t, m=m, w=w, a=a).to_linear(values)


def biexponential(
    values: ArrayLike, *, t: float = 262144.000029, m: float = 4.41854, w: float = -10.0, a: float = 0.0
) -> NDArray[Any]:
    """Put linear values on the biexponential scale of FlowJo 10, divided by its 4096 channels.

    values: any shape; float32 gives float32, everything else float64. t: FlowJo's maximum. m: its positive decades.
    w: its width basis, -1 or less (a more negative one puts more of the scale round zero). a: its extra negative
    decades. FlowJo reads the curve from a table and lays what is beyond it on the edge; here the curve goes on, so
    that no value is lost. Raises UsageError where the parameters make no scale.
    Source: the lookup table of FlowJo 10 as FlowKit reproduces it; this is the smooth function behind it.

    >>> (biexponential([0, 1000]) * 4096).round(1).tolist()
    [463.0, 1816.8]
    """
    return biexponential_scale(t=t, m=m, w=w, a=a).to_scale(values)


def biexponential_inverse(
    values: ArrayLike, *, t: float = 262144.000029, m: float = 4.41854, w: float = -10.0, a: float = 0.0
) -> NDArray[Any]:
    """Return the linear values that stand at given places of FlowJo's biexponential scale (channel / 4096).

    Parameters, types and errors are those of ``biexponential``.

    >>> biexponential_inverse([463 / 4096]).tolist()
    [0.0]
    """
    return biexponential_scale(t=t, m=m, w=w, a=a).to_linear(values)


def logicle_scale(*, t: float, m: float = 4.5, w: float = 0.5, a: float = 0.0) -> Biexponential:
    """Return the logicle scale of given parameters, to be used for many arrays; see ``logicle``.

    >>> logicle_scale(t=262144).to_linear([1.0]).round(3).tolist()
    [262144.0]
    """
    told = f"t={t:g}, m={m:g}, w={w:g}, a={a:g}"
    if not (all(map(isfinite, (t, m, w, a))) and t > 0 and m > 0 and 0 <= 2 * w <= m and -w <= a <= m - 2 * w):
        raise UsageError(
            f"no logicle scale has {told}",
            why="the curve would not rise, or zero would not lie on the scale",
            fix="t and m above 0, w from 0 to m / 2, a from -w to m - 2 w",
        )
    width = w / (m + a)
    zero = (a + w) / (m + a)
    b = (m + a) * log(10)
    if m + a > _DECADES_MAX:
        raise UsageError(f"{m + a:g} decades are more than numbers hold", where=told, fix="4.5 decades are usual")
    d = _slow_rate(b, width=width)
    ratio = (b / d) ** 2
    up = t / (expm1(b * (1 - zero)) - ratio * expm1(-d * (1 - zero)))
    return _checked(Biexponential(zero, up, b, up * ratio, d, t), told=told)


def biexponential_scale(
    *, t: float = 262144.000029, m: float = 4.41854, w: float = -10.0, a: float = 0.0
) -> Biexponential:
    """Return FlowJo's biexponential scale of given parameters, to be used for many arrays; see ``biexponential``.

    >>> biexponential_scale().zero * 4096
    463.0
    """
    told = f"t={t:g}, m={m:g}, w={w:g}, a={a:g}"
    half = log10(-w) / 2 if isfinite(w) and w <= -1 else np.nan
    if not (all(map(isfinite, (t, m, half, a))) and t > 0 and m > half and a >= 0 and a + m <= _DECADES_MAX):
        raise UsageError(
            f"no biexponential scale has {told}",
            why="zero would not lie on the scale",
            fix="t and m above 0, w -1 or less (FlowJo: -1 to -1000), a 0 or more",
        )
    # FlowJo rounds the channel of zero down and then takes the decades that put it there
    extra = a + half
    channel = min(int(extra * _CHANNELS / (a + m)), _CHANNELS // 2)
    decades = extra * _CHANNELS / channel if channel > 0 else m - half
    width = half / decades
    b = log(10) * decades
    d = _slow_rate(b, width=width)
    start = channel / _COUNTED
    up = t * exp(b * (start - 1))
    down = t * exp((b + d) * (width + extra / decades) - d * start - b)
    per = _CHANNELS / _COUNTED
    return _checked(Biexponential(channel / _CHANNELS, up, b * per, down, d * per, t), told=told)


def _checked(scale: Biexponential, *, told: str) -> Biexponential:
    smallest = np.finfo(np.float64).tiny
    if not all(smallest < value < 1 / smallest for value in (scale.up, scale.b, scale.down, scale.d)):
        raise UsageError("the scale is too steep or too flat to be computed", where=told, fix="4.5 decades are usual")
    return scale


def _slow_rate(b: float, *, width: float) -> float:
    """Solve 2 ln(d / b) + width (b + d) = 0 for d, the condition that the curve be straightest at zero."""
    share = 0.0
    for _ in range(100):
        grown = width * b * exp(share)
        step = (2 * share + width * b + grown) / (2 + grown)
        share -= step
        if abs(step) <= 1e-16 * max(1.0, abs(share)):
            break
    return b * exp(share)
