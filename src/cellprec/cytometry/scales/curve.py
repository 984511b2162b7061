"""A curve that is linear near zero and logarithmic far from it, computed fast and exactly in both directions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from math import expm1, log, log1p
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import numpy as np

from cellprec.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

# pieces per doubling, as powers of two: the coarsest that is exact enough is taken
_PIECES: Final = (4, 5, 6, 7, 8, 9, 10)
# the relative error of a linear value that the error of the table may stand for: below what the type can hold
# in 32 bits, and 1e-10 in 64 bits
_TOLERANCE: Final = {4: 1e-7, 8: 1e-10}
# of a scale of 4.5 decades; one of fewer decades shall not be less exact
_RATE_USUAL: Final = 10.0
# the pieces reach this far beyond the top of the scale; what is farther is solved by itself
_BEYOND: Final = 16.0
_OCTAVES_MAX: Final = 64
_BLOCK: Final = 1 << 14
# values after which those that the table does not hold are looked for
_CHUNK: Final = 1 << 10


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
        table = _table(self, _TOLERANCE[given.itemsize])
        run = _compiled().interpolate

        def piece(part: NDArray[Any], into: NDArray[Any]) -> None:
            run(part, into, table.pieces.ravel(), table.per, self.zero, table.bits, self.up, self.b, self.down, self.d)

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


class _Table(NamedTuple):
    """Polynomials of ``z = 1 + |x| * per`` in z - node: the exponent and first ``bits`` bits of z name the piece."""

    pieces: NDArray[np.float64]
    per: float
    bits: int


@lru_cache(maxsize=512)
def _table(scale: Biexponential, tolerance: float) -> _Table:
    unit = scale.up + scale.down * scale.d / scale.b
    octaves = min(int(np.ceil(np.log2(1.0 + _BEYOND * scale.t / unit))), _OCTAVES_MAX)
    for bits in _PIECES:
        steps = np.arange(1 << bits) / (1 << bits)
        nodes = np.append(((1.0 + steps) * 2.0 ** np.arange(octaves)[:, None]).ravel(), 2.0**octaves)
        pieces = _pieces(scale, nodes, unit=unit)
        apart = np.diff(nodes)
        worst = 0.0
        for share in (0.25, 0.5, 0.75):
            h = apart * share
            guess = ((pieces[:, 3] * h + pieces[:, 2]) * h + pieces[:, 1]) * h + pieces[:, 0]
            worst = max(worst, float(np.abs(guess - _solve(scale, (nodes[:-1] + h - 1.0) * unit)).max()))
        if worst <= tolerance / max(scale.b, _RATE_USUAL):
            break
    return _Table(pieces, 1.0 / unit, bits)


def _pieces(scale: Biexponential, nodes: NDArray[np.float64], *, unit: float) -> NDArray[np.float64]:
    u = _solve(scale, (nodes - 1.0) * unit)
    slope = unit / (scale.up * scale.b * np.exp(scale.b * u) + scale.down * scale.d * np.exp(-scale.d * u))
    h = np.diff(nodes)
    rise = np.diff(u) / h
    bend = (3 * rise - 2 * slope[:-1] - slope[1:]) / h
    twist = (slope[:-1] + slope[1:] - 2 * rise) / h**2
    return np.ascontiguousarray(np.column_stack([u[:-1], slope[:-1], bend, twist]))


def _solve(scale: Biexponential, x: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty_like(x)
    _compiled().solve(x, out, scale.up, scale.b, scale.down, scale.d)
    return out


def _floats(values: ArrayLike) -> NDArray[Any]:
    given = np.asarray(values)
    return given if given.dtype in (np.float32, np.float64) else given.astype(np.float64)


def _each(
    given: NDArray[Any], *, out: NDArray[Any] | None, work: Callable[[NDArray[Any], NDArray[Any]], None]
) -> NDArray[Any]:
    if out is not None and np.may_share_memory(given, out):
        given = given.copy()
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
        return types.uint64(types.float64), partial(_same_bits, types.uint64)

    def as_number(_: Any, __: Any) -> Any:
        return types.float64(types.uint64), partial(_same_bits, types.float64)

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
    solve: Callable[..., float], as_bits: Callable[[float], Any], as_number: Callable[[Any], float]
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
        shift = np.uint64(52 - bits)
        first = np.uint64(1023 << bits)
        n = np.uint64(pieces.size // 4)
        for start in range(0, x.size, _CHUNK):
            stop = min(start + _CHUNK, x.size)
            far = 0
            # this loop calls nothing and counts without signs, so that all it needs stays in registers
            for i in range(start, stop):
                value = np.float64(x[i])
                z = 1.0 + abs(value) * per
                key = as_bits(z) >> shift
                j = key - first
                if j < n:
                    h = z - as_number(key << shift)
                    at = j << np.uint64(2)
                    u = pieces[at + np.uint64(3)] * h + pieces[at + np.uint64(2)]
                    u = (u * h + pieces[at + np.uint64(1)]) * h + pieces[at]
                    out[i] = zero + np.copysign(u, value)
                else:
                    far += 1
            if far == 0:
                continue
            for i in range(start, stop):
                value = np.float64(x[i])
                if (as_bits(1.0 + abs(value) * per) >> shift) - first >= n:
                    if np.isfinite(value):
                        out[i] = zero + np.copysign(solve(abs(value), up, b, down, d), value)
                    else:
                        out[i] = value

    return cast("Callable[..., None]", run)
