from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from flowkit._models.transforms._wsp_transforms import generate_biex_lut
from flowutils import transforms
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import cellprec.settings
from cellprec.cytometry.scales.logicle import (
    biexponential,
    biexponential_inverse,
    biexponential_scale,
    logicle,
    logicle_inverse,
    logicle_scale,
)
from cellprec.errors import UsageError

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[4] / "shared" / "data"))
TABLE = (
    DATA / "cytometry" / "flowkit_wsp" / "flowjo_biex_tr_biex_l256_w-7.943282_n1.000000_m4.418540_r262144.000029.csv"
)
FAR = np.concatenate([[0.0], 10.0 ** np.linspace(-12, 4, 400)])
FAR = np.concatenate([-FAR[::-1], FAR])


@st.composite
def legal(draw: st.DrawFn) -> dict[str, float]:
    m = draw(st.floats(0.02, 20))
    w = draw(st.one_of(st.just(0.0), st.floats(0, m / 2), st.just(m / 2)))
    a = draw(st.one_of(st.just(0.0), st.just(-w), st.just(m - 2 * w), st.floats(-w, m - 2 * w)))
    assume(0 <= 2 * w <= m and -w <= a <= m - 2 * w)
    return {"t": draw(st.floats(1, 1e8)), "m": m, "w": w, "a": a}


@settings(max_examples=150, deadline=None)
@given(parameters=legal(), values=st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=30))
@example(parameters={"t": 262144.0, "m": 4.5, "w": 0.0, "a": 0.0}, values=[1e-12, 2e-9, -1e-12])
@example(parameters={"t": 262144.0, "m": 4.5, "w": 2.25, "a": -2.25}, values=[-1e4, 1e6])
def test_any_legal_logicle_is_that_of_flowutils(parameters: dict[str, float], values: list[float]) -> None:
    x = np.r_[values, FAR * parameters["t"]]
    ours = logicle(x, **parameters)
    assert np.isfinite(ours).all()
    with np.errstate(all="ignore"):
        theirs = transforms.logicle(x, None, **parameters)
        # next to zero and at large w the iteration of FlowUtils may end elsewhere, with -1 or worse: its inverse tells
        back = transforms.logicle_inverse(theirs, None, **parameters)
    scale = logicle_scale(**parameters)
    solved = np.abs(back - x) <= 1e-6 * np.abs(x) + 1e-9 * (scale.up + scale.down)
    # the judge must know most answers; of scales of a few decades it does
    assert solved.mean() > 0.5 or not 2 <= parameters["m"] <= 10
    assert np.abs(ours - theirs)[solved].max(initial=0) < 1e-6
    # where it has no answer the curve itself is the judge
    slack = 1e-9 * np.abs(x) + 1e-12 * (scale.up + scale.down)
    assert (np.abs(logicle_inverse(ours, **parameters) - x) <= slack).all()
    assert (np.diff(ours[np.argsort(x, kind="stable")]) >= 0).all()


@settings(max_examples=80, deadline=None)
@given(parameters=legal(), y=st.lists(st.floats(-1, 2), min_size=1, max_size=30))
def test_the_inverse_is_that_of_flowutils(parameters: dict[str, float], y: list[float]) -> None:
    ours = logicle_inverse(y, **parameters)
    theirs = transforms.logicle_inverse(np.array(y), None, **parameters)
    scale = logicle_scale(**parameters)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6 * (scale.up + scale.down))
    back = logicle(ours, **parameters)
    np.testing.assert_allclose(back, y, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(parameters=legal(), values=st.lists(st.floats(-1e9, 1e9, width=32), min_size=1, max_size=30))
def test_32_bits_lose_no_more_than_32_bits_hold(parameters: dict[str, float], values: list[float]) -> None:
    x = np.array(values, dtype=np.float32)
    y = logicle(x, **parameters)
    assert y.dtype == np.float32
    exact = logicle(x.astype(np.float64), **parameters)
    assert (np.abs(y - exact) <= 1e-8 + np.spacing(np.abs(exact).astype(np.float32))).all()


def test_landmarks_of_the_definition() -> None:
    for m, w, a in [(4.5, 0.5, 0.0), (4.5, 0.0, 0.0), (4.0, 1.0, 1.0), (5.0, 1.0, -0.5)]:
        scale = {"t": 1e5, "m": m, "w": w, "a": a}
        assert logicle(1e5, **scale) == pytest.approx(1.0, abs=1e-11)
        assert logicle(0.0, **scale) == pytest.approx((a + w) / (m + a), abs=1e-15)
        # zero lies between what is below and above it by the same distance
        assert logicle(-50.0, **scale) + logicle(50.0, **scale) == pytest.approx(2 * (a + w) / (m + a), abs=1e-11)
        # a decade of bright values takes one of the m + a decades
        decade = logicle(1e5, **scale) - logicle(1e4, **scale)
        assert decade == pytest.approx(1 / (m + a), rel=0.05)


def test_without_a_linear_zone_it_is_the_inverse_hyperbolic_sine() -> None:
    x = np.linspace(-1000, 1000, 2001)
    b = 4.5 * np.log(10)
    np.testing.assert_allclose(logicle(x, t=1000, w=0), np.arcsinh(x / 1000 * np.sinh(b)) / b, atol=1e-11)


def test_what_is_no_number_stays_so() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, 1.7e308, -1.7e308, 5e-324])
    y = logicle(odd, t=262144)
    assert np.isnan(y[0])
    assert y[1:3].tolist() == [np.inf, -np.inf]
    assert np.isfinite(y[3:]).all()
    assert y[4] == pytest.approx(1 + (np.log10(1.7e308) - np.log10(262144)) / 4.5, abs=1e-3)
    back = logicle_inverse(y, t=262144)
    assert np.isnan(back[0])
    assert back[1:3].tolist() == [np.inf, -np.inf]
    np.testing.assert_allclose(back[4:6], odd[4:6], rtol=1e-9)


@pytest.mark.parametrize("shape", [(), (0,), (7,), (5, 3), (2, 3, 4)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_shape_and_layout_gives_the_same(shape: tuple[int, ...], order: str) -> None:
    x = np.random.default_rng(0).normal(0, 1e4, shape)
    expected = np.array([logicle(np.array([v]), t=262144)[0] for v in x.ravel()]).reshape(shape)
    y = logicle(np.asarray(x, order=order), t=262144)  # type: ignore[call-overload]
    assert y.shape == shape
    np.testing.assert_array_equal(y, expected)
    wide = np.zeros((*shape, 2))
    wide[..., 1] = x
    np.testing.assert_array_equal(logicle(wide[..., 1], t=262144), expected)
    into = np.zeros((*shape, 2), dtype=np.float32)
    logicle_scale(t=262144).to_scale(wide[..., 1], out=into[..., 0])
    np.testing.assert_array_equal(into[..., 0], expected.astype(np.float32))
    np.testing.assert_array_equal(into[..., 1], 0)


def test_a_scale_may_be_written_over_its_values() -> None:
    # of so low a top that places on the scale would be far beyond it as values
    values = np.array([1e-7, 5e-7, 1e-3, np.nan, -1e3])
    expected = logicle(values, t=1e-6)
    logicle_scale(t=1e-6).to_scale(values, out=values)
    np.testing.assert_array_equal(values, expected)


def test_whole_numbers_and_lists_are_taken() -> None:
    assert logicle([1000], t=262144)[0] == logicle(np.array([1000.0]), t=262144)[0]
    assert logicle(np.array([1000], dtype=np.uint16), t=262144).dtype == np.float64


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(0, 1e4, 2_500_000).astype(np.float32)
    alone = logicle(x, t=262144)
    monkeypatch.setattr(cellprec.settings.settings, "threads", 2)
    np.testing.assert_array_equal(logicle(x, t=262144), alone)


@pytest.mark.parametrize(
    "wrong",
    [
        {"t": 0},
        {"t": -1},
        {"t": np.nan},
        {"t": 1, "m": 0},
        {"t": 1, "w": -0.1},
        {"t": 1, "w": 2.3},
        {"t": 1, "a": -0.6},
        {"t": 1, "a": 3.6},
        {"t": np.inf},
        {"t": 1, "m": 400},
    ],
)
def test_what_is_no_logicle_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        logicle([1.0], **wrong)


@settings(max_examples=60, deadline=None)
@given(
    t=st.floats(100, 1e7),
    m=st.floats(2.5, 6),
    w=st.sampled_from([-1.0, -3.981072, -10.0, -100.0, -1000.0]),
    a=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_biexponential_is_the_table_of_flowkit(t: float, m: float, w: float, a: float) -> None:
    linear, channel = generate_biex_lut(neg=a, width_basis=w, pos=m, max_value=t)
    scale = {"t": t, "m": m, "w": w, "a": a}
    unit = linear.max() * 1e-9
    np.testing.assert_allclose(biexponential_inverse(channel / 4096, **scale), linear, rtol=1e-7, atol=unit)
    inside = np.diff(linear, prepend=-np.inf) > 0
    np.testing.assert_allclose(biexponential(linear[inside], **scale) * 4096, channel[inside], atol=1e-4)


@pytest.mark.real
@pytest.mark.skipif(not TABLE.is_file(), reason="the real data sets are not there")
def test_biexponential_is_the_table_of_flowjo() -> None:
    channel, linear = np.loadtxt(TABLE, delimiter=",", skiprows=1).T
    x = biexponential_inverse(channel / 4096, t=262144.000029, m=4.41854, w=-7.943282, a=1.0)
    # the file has six digits
    np.testing.assert_allclose(x, linear, rtol=5e-6, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-1e7, 1e7), min_size=1, max_size=30),
    w=st.floats(-1000, -1),
    a=st.floats(0, 2),
    t=st.floats(1e3, 1e7),
)
def test_biexponential_there_and_back_beyond_its_edges(values: list[float], w: float, a: float, t: float) -> None:
    y = biexponential(values, t=t, w=w, a=a)
    scale = biexponential_scale(t=t, w=w, a=a)
    np.testing.assert_allclose(
        biexponential_inverse(y, t=t, w=w, a=a), values, rtol=1e-9, atol=1e-12 * (scale.up + scale.down)
    )
    assert (np.diff(y[np.argsort(values, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("wrong", [{"w": -0.5}, {"w": 10.0}, {"a": -1}, {"t": 0}, {"m": 0.4}, {"w": np.nan}])
def test_what_is_no_biexponential_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        biexponential([1.0], **wrong)
