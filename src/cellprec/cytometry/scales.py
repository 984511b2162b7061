"""Scales that are linear near zero and logarithmic far from it: logicle and FlowJo's biexponential, both ways."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from math import exp, expm1, isfinite, log, log1p, log10
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np

from cellprec.errors import UsageError
from cellprec.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

# FlowJo shows 4096 channels, and counts 4097 of them in its exponents
_CHANNELS: Final = 4096
_COUNTED: Final = 4097
# a double holds e**709; beyond this the sums of two exponentials would not be finite
_DECADES_MAX: Final = 300.0
# pieces per doubling, as powers of two: the coarsest that is exact enough is taken
_PIECES: Final = (4, 5, 6, 7, 8, 9, 10)
# the relative error of a linear value that the error of the table may stand for: far below what the type can hold
# in 32 bits, and 1e-10 in 64 bits
_TOLERANCE: Final = {4: 1e-8, 8: 1e-10}
# the pieces reach this far beyond the top of the scale; what is farther is solved by itself
_BEYOND: Final = 16.0
_OCTAVES_MAX: Final = 64
_BLOCK: Final = 1 << 14


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


@dataclass(frozen=True)
class Biexponential:
    """A scale y of linear values x, odd about its zero: ``x = up expm1(b u) - down expm1(-d u)``, u = y - zero >= 0.

    Both terms grow with u, so nothing cancels next to zero. t: the value at the top of the scale.
    """

    zero: float
    up: float
    b: float
    down: float
    d: float
    t: float

    def to_scale(self, values: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the place of each linear value on the scale, written into ``out`` where it is given.

        >>> Biexponential(0.0, 1.0, 1.0, 1.0, 1.0, 10.0).to_scale([0.0, 2.0]).round(6).tolist()
        [0.0, 0.881374]
        """
        given = _floats(values)
        table = self._table(_TOLERANCE[given.itemsize])
        run = _compiled().interpolate

        def piece(part: NDArray[Any], into: NDArray[Any]) -> None:
            run(part, into, table.pieces, table.per, self.zero, table.bits, self.up, self.b, self.down, self.d)

        return _each(given, out=out, work=piece)

    def to_linear(self, values: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the linear value at each place of the scale, written into ``out`` where it is given.

        >>> Biexponential(0.0, 1.0, 1.0, 1.0, 1.0, 10.0).to_linear([0.0, 0.881374]).round(4).tolist()
        [0.0, 2.0]
        """

        def piece(part: NDArray[Any], into: NDArray[Any]) -> None:
            with np.errstate(over="ignore", invalid="ignore"):
                for start in range(0, len(part), _BLOCK):
                    signed = part[start : start + _BLOCK].astype(np.float64)
                    signed -= self.zero
                    u = np.abs(signed)
                    linear = self.up * np.expm1(self.b * u) - self.down * np.expm1(-self.d * u)
                    into[start : start + _BLOCK] = np.copysign(linear, signed)

        return _each(_floats(values), out=out, work=piece)

    def _table(self, tolerance: float) -> _Table:
        unit = self.up + self.down * self.d / self.b
        octaves = min(int(np.ceil(np.log2(1.0 + _BEYOND * self.t / unit))), _OCTAVES_MAX)
        for bits in _PIECES:
            steps = np.arange(1 << bits) / (1 << bits)
            nodes = np.append(((1.0 + steps) * 2.0 ** np.arange(octaves)[:, None]).ravel(), 2.0**octaves)
            pieces = self._pieces(nodes, unit=unit)
            apart = np.diff(nodes)
            worst = 0.0
            for share in (0.25, 0.5, 0.75):
                h = apart * share
                guess = ((pieces[:, 3] * h + pieces[:, 2]) * h + pieces[:, 1]) * h + pieces[:, 0]
                worst = max(worst, float(np.abs(guess - self._solve((nodes[:-1] + h - 1.0) * unit)).max()))
            if worst <= tolerance / self.b:
                break
        return _Table(pieces, 1.0 / unit, bits)

    def _pieces(self, nodes: NDArray[np.float64], *, unit: float) -> NDArray[np.float64]:
        u = self._solve((nodes - 1.0) * unit)
        slope = unit / (self.up * self.b * np.exp(self.b * u) + self.down * self.d * np.exp(-self.d * u))
        h = np.diff(nodes)
        rise = np.diff(u) / h
        bend = (3 * rise - 2 * slope[:-1] - slope[1:]) / h
        twist = (slope[:-1] + slope[1:] - 2 * rise) / h**2
        return np.ascontiguousarray(np.column_stack([u[:-1], slope[:-1], bend, twist]))

    def _solve(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.empty_like(x)
        _compiled().solve(x, out, self.up, self.b, self.down, self.d)
        return out


class _Table(NamedTuple):
    """Polynomials of ``z = 1 + |x| * per`` in z - node: the exponent and first ``bits`` bits of z name the piece."""

    pieces: NDArray[np.float64]
    per: float
    bits: int


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


def _floats(values: ArrayLike) -> NDArray[Any]:
    given = np.asarray(values)
    return given if given.dtype in (np.float32, np.float64) else given.astype(np.float64)


def _each(
    given: NDArray[Any], *, out: NDArray[Any] | None, work: Callable[[NDArray[Any], NDArray[Any]], None]
) -> NDArray[Any]:
    if given.ndim != 1 and not given.flags.c_contiguous:
        if given.flags.f_contiguous:
            return _each(given.T, out=None if out is None else out.T, work=work).T
        given = np.ascontiguousarray(given)
    result = np.empty_like(given) if out is None else out
    flat = given.reshape(-1)
    into = result if result.ndim == 1 or result.flags.c_contiguous else np.empty_like(given)
    target = into.reshape(-1)
    n = max(1, min(settings.threads, flat.size // (1 << 20)))
    if n == 1:
        work(flat, target)
    else:
        edges = np.linspace(0, flat.size, n + 1).astype(int)
        with ThreadPoolExecutor(n) as pool:
            list(pool.map(lambda lo, hi: work(flat[lo:hi], target[lo:hi]), edges[:-1], edges[1:]))
    if into is not result:
        result[...] = into
    return result


class _Kernels(NamedTuple):
    solve: Callable[..., None]
    interpolate: Callable[..., None]


@cache
def _compiled() -> _Kernels:
    # compiled at the first use, in about a second: numba takes longer to load than the rest of the package
    import numba  # noqa: PLC0415
    from numba.core import types  # noqa: PLC0415
    from numba.extending import intrinsic  # noqa: PLC0415

    def as_bits(_: Any, __: Any) -> Any:
        return types.int64(types.float64), partial(_same_bits, types.int64)

    def as_number(_: Any, __: Any) -> Any:
        return types.float64(types.int64), partial(_same_bits, types.float64)

    # multiply and add in one rounding; nothing else of IEEE is given up
    make = numba.njit(nogil=True, error_model="numpy", fastmath={"contract"})
    solve = make(_solve_one)
    return _Kernels(make(_solver(solve)), make(_interpolator(solve, intrinsic(as_bits), intrinsic(as_number))))


def _same_bits(kind: Any, context: Any, builder: Any, _: Any, args: Any) -> Any:
    return builder.bitcast(args[0], context.get_value_type(kind))


def _solve_one(x: float, up: float, b: float, down: float, d: float) -> float:
    """Find u >= 0 with up expm1(b u) - down expm1(-d u) = x >= 0, by Newton from above: the curve is convex."""
    if x / up > 1e300:
        return (log(x) - log(up)) / b
    u = min(log1p(x / up) / b, x / (up * b + down * d))
    for _ in range(60):
        fast, slow = expm1(b * u), expm1(-d * u)
        step = (up * fast - down * slow - x) / (up * b * (fast + 1.0) + down * d * (slow + 1.0))
        u = max(u - step, 0.0)
        if abs(step) <= 4e-16 * u:
            break
    return u


def _solver(solve: Callable[..., float]) -> Callable[..., None]:
    def run(x: NDArray[Any], out: NDArray[Any], up: float, b: float, down: float, d: float) -> None:
        for i in range(x.size):
            out[i] = solve(x[i], up, b, down, d)

    return run


def _interpolator(
    solve: Callable[..., float], as_bits: Callable[[float], int], as_number: Callable[[int], float]
) -> Callable[..., None]:
    def run(
        x: NDArray[Any],
        out: NDArray[Any],
        pieces: NDArray[np.float64],
        per: float,
        zero: float,
        bits: int,
        up: float,
        b: float,
        down: float,
        d: float,
    ) -> None:
        shift = 52 - bits
        first = 1023 << bits
        n = pieces.shape[0]
        for i in range(x.size):
            value = np.float64(x[i])
            z = 1.0 + abs(value) * per
            key = as_bits(z) >> shift
            j = key - first
            if j < n:
                h = z - as_number(key << shift)
                u = ((pieces[j, 3] * h + pieces[j, 2]) * h + pieces[j, 1]) * h + pieces[j, 0]
                out[i] = zero + np.copysign(u, value)
            elif np.isfinite(value):
                out[i] = zero + np.copysign(solve(abs(value), up, b, down, d), value)
            else:
                out[i] = value

    return cast("Callable[..., None]", run)
