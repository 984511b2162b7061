"""A spectral panel with known truth: single-stain controls, unstained cells and a stained sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray

from cellprec import keys
from cellprec.errors import UsageError

_LASERS: Final = ("UV", "V", "B", "YG", "R")
# where the detectors of each laser begin, from 0 (ultraviolet) to 1 (infrared)
_FIRST: Final = (0.0, 0.1, 0.3, 0.45, 0.6)
_TOP: Final = 4_194_304.0
# the height of a bright stain and of autofluorescence at their peak detectors, in instrument units
_BRIGHT: Final = 50_000.0
_AUTOFLUORESCENCE: Final = 1_500.0
# a panel designer takes no two dyes that look more alike than this
_ALIKE: Final = 0.95
_CATALOG: Final = 3


@dataclass(frozen=True)
class SpectralPanel:
    """A simulated spectral experiment and its truth.

    controls: one AnnData per dye. unstained: cells without dye. stained: cells with all of them.
    spectra: dyes (and ``AF`` or ``AF1`` …) × detectors, peak 1. abundances: events of ``stained`` × the same rows.
    """

    controls: dict[str, AnnData]
    unstained: AnnData
    stained: AnnData
    spectra: pd.DataFrame
    abundances: pd.DataFrame
    noise: dict[str, float] = field(default_factory=dict)


def simulate_spectral(
    *,
    n_dyes: int = 24,
    n_detectors: int = 64,
    n_autofluorescence: int = 1,
    n_events: int = 5_000,
    n_control_events: int = 3_000,
    snr_db: float = 30.0,
    noise: Literal["photon", "constant"] = "photon",
    positive: float = 0.3,
    seed: int = 0,
) -> SpectralPanel:
    """Make the files of a spectral panel whose spectra and abundances are known.

    Dyes have one or two skewed emission peaks seen by several lasers; each control holds stained and unstained cells.
    snr_db: power of the signal over power of the noise in the stained sample. noise: ``photon`` (variance grows with
    the signal, with a small floor) or ``constant``. positive: share of cells that carry a dye.

    Raises UsageError where so many dyes do not fit on the detectors.

    >>> panel = simulate_spectral(n_dyes=3, n_detectors=16, n_events=50, n_control_events=20)
    >>> panel.spectra.shape, panel.stained.shape, list(panel.controls)
    ((4, 16), (50, 19), ['Dye01', 'Dye02', 'Dye03'])
    """
    rng = np.random.default_rng(seed)
    lasers, position = _detectors(n_detectors)
    names = [f"Dye{i + 1:02d}" for i in range(n_dyes)]
    glow = ["AF"] if n_autofluorescence == 1 else [f"AF{i + 1}" for i in range(n_autofluorescence)]
    dyes = _dyes(n_dyes, lasers=lasers, position=position, rng=rng)
    own = np.array([_glow(lasers, position=position, rng=rng) for _ in glow])
    channels = _channel_names(lasers)
    spectra = pd.DataFrame(np.vstack([dyes, own]), index=[*names, *glow], columns=channels)

    brightness = _BRIGHT * rng.lognormal(0, 0.5, n_dyes)
    carried = rng.random((n_events, n_dyes)) < positive
    amounts = carried * brightness * rng.lognormal(0, 0.4, (n_events, n_dyes))
    abundances = np.hstack([amounts, _own_amounts(n_events, n_kinds=len(glow), rng=rng)])
    clean = abundances @ spectra.to_numpy()
    power = float((clean**2).mean()) / 10 ** (snr_db / 10)
    gain = 0.9 * power / float(clean.mean()) if noise == "photon" else 0.0
    level = {"gain": gain, "floor": power - gain * float(clean.mean())}

    controls = {}
    for i, name in enumerate(names):
        alone = np.zeros((n_control_events, n_dyes))
        stained = rng.random(n_control_events) < 0.5
        alone[:, i] = stained * brightness[i] * rng.lognormal(0, 0.5, n_control_events)
        mixed = np.hstack([alone, _own_amounts(n_control_events, n_kinds=len(glow), rng=rng)])
        controls[name] = _events(mixed @ spectra.to_numpy(), channels=channels, level=level, sample=name, rng=rng)
    blank = _own_amounts(n_control_events, n_kinds=len(glow), rng=rng) @ own
    return SpectralPanel(
        controls=controls,
        unstained=_events(blank, channels=channels, level=level, sample="unstained", rng=rng),
        stained=_events(clean, channels=channels, level=level, sample="stained", rng=rng),
        spectra=spectra,
        abundances=pd.DataFrame(abundances, columns=spectra.index),
        noise=level,
    )


def _detectors(n: int) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """The laser of each detector, and its wavelength from 0 to 1."""
    counts = np.full(len(_LASERS), n // len(_LASERS))
    counts[: n % len(_LASERS)] += 1
    lasers = np.repeat(_LASERS, counts)
    position = [np.linspace(first, 1, count) for first, count in zip(_FIRST, counts, strict=True)]
    return lasers, np.concatenate(position)


def _channel_names(lasers: NDArray[np.str_]) -> list[str]:
    return [f"{name}{int((lasers[:i] == name).sum()) + 1}-A" for i, name in enumerate(lasers)]


def _dyes(
    n: int, *, lasers: NDArray[np.str_], position: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Choose from a random catalog as a panel designer does: next comes what looks least like those there."""
    catalog = np.array([_dye(lasers, position=position, rng=rng) for _ in range(_CATALOG * n)])
    length = np.linalg.norm(catalog, axis=1)
    alike = catalog @ catalog.T / np.outer(length, length)
    chosen = [0]
    while len(chosen) < n:
        worst = alike[chosen].max(axis=0)
        chosen.append(int(np.argmin(worst)))
        if worst.min() > _ALIKE:
            raise UsageError(
                f"{n} dyes that can be told apart do not fit on {len(lasers)} detectors",
                fix="take fewer dyes or more detectors",
            )
    return np.asarray(catalog[chosen])


def _dye(lasers: NDArray[np.str_], *, position: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    laser = int(rng.integers(len(_LASERS)))
    excited = rng.dirichlet(np.where(np.arange(len(_LASERS)) == laser, 6.0, 0.25))
    # no dye emits at shorter wavelengths than it is excited at
    emission = _peak(position, at=rng.uniform(_FIRST[laser] + 0.02, 0.97), width=rng.uniform(0.02, 0.06))
    if rng.random() < 0.3:
        donor = _peak(position, at=rng.uniform(_FIRST[laser] + 0.02, 0.97), width=0.04)
        emission = emission + rng.uniform(0.1, 0.4) * donor
    seen = emission * excited[[_LASERS.index(str(name)) for name in lasers]]
    return np.asarray(seen / seen.max())


def _peak(position: NDArray[np.float64], *, at: float, width: float) -> NDArray[np.float64]:
    # emission falls slowly towards the red
    side = np.where(position > at, 2 * width, width)
    return np.asarray(np.exp(-0.5 * ((position - at) / side) ** 2))


def _glow(lasers: NDArray[np.str_], *, position: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    strength = np.array([1.0, 0.8, 0.5, 0.3, 0.1]) * rng.lognormal(0, 0.3, len(_LASERS))
    broad = _peak(position, at=rng.uniform(0.25, 0.5), width=rng.uniform(0.12, 0.2))
    seen = broad * strength[[_LASERS.index(str(name)) for name in lasers]]
    return np.asarray(seen / seen.max())


def _own_amounts(n: int, *, n_kinds: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Each cell glows in one of the colors of its kind."""
    kind = rng.integers(n_kinds, size=n)
    return np.asarray(
        _AUTOFLUORESCENCE * rng.lognormal(0, 0.4, (n, 1)) * (kind[:, None] == np.arange(n_kinds)[None, :])
    )


def _events(
    clean: NDArray[np.float64],
    *,
    channels: list[str],
    level: dict[str, float],
    sample: str,
    rng: np.random.Generator,
) -> AnnData:
    n = len(clean)
    measured = clean + rng.normal(size=clean.shape) * np.sqrt(level["gain"] * clean + level["floor"])
    scatter = np.column_stack([rng.normal(80_000, 9_000, n), rng.normal(30_000, 4_000, n)])
    values = np.column_stack([np.arange(n) / 1000, scatter, measured]).astype(np.float32)
    var = pd.DataFrame(
        {
            keys.CHANNEL: ["Time", "FSC-A", "SSC-A", *channels],
            keys.MARKER: "",
            keys.KIND: pd.Categorical(["time", "scatter", "scatter"] + ["fluorescence"] * len(channels)),
            keys.RANGE: _TOP,
        },
        index=pd.Index(["Time", "FSC-A", "SSC-A", *channels]),
    )
    np.minimum(values, _TOP, out=values)
    obs = pd.DataFrame(
        {keys.SAMPLE_ID: pd.Categorical([sample] * n)}, index=[keys.cell_name(sample, str(i)) for i in range(n)]
    )
    return AnnData(values, obs=obs, var=var)
