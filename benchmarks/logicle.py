"""Logicle of 1M events x 20 channels beside a copy of the array, FlowUtils and FlowKit.

``python benchmarks/logicle.py`` (``--quick``: 100,000 events). Every subject runs in processes of its own, in turns, so
that its peak memory is its own and a busy machine slows all alike; the least wall time of all turns counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

CHANNELS = 20
SCALE = {"t": 262144.0, "m": 4.5, "w": 0.5, "a": 0.0}
WIDTHS = np.linspace(0, 2, CHANNELS)
# every corner of what is legal, and what lies between
LEGAL = [
    {"t": t, "m": m, "w": w * m / 2, "a": -w * m / 2 + share * (m - w * m / 2)}
    for t in (100.0, 262144.0, 1e7)
    for m in (1.0, 4.5, 10.0)
    for w in (0.0, 0.2, 1.0)
    for share in (0.0, 0.5, 1.0)
]
SUBJECTS = {
    "copy32": "np.copy, 32 bits (floor)",
    "ours32": "cellprec logicle, 32 bits",
    "transform32": "cellprec transform, 20 scales",
    "copy64": "np.copy, 64 bits (floor)",
    "ours64": "cellprec logicle, 64 bits",
    "back64": "cellprec logicle_inverse",
    "flowutils": "FlowUtils",
    "flowkit": "FlowKit LogicleTransform",
}


def make_events(n: int, *, seed: int = 0) -> np.ndarray:
    """Half noise round zero, half stained; a few events beyond the top and some far below zero."""
    rng = np.random.default_rng(seed)
    values = np.empty((n, CHANNELS))
    for i in range(CHANNELS):
        stained = rng.random(n) < 0.5
        values[:, i] = rng.normal(0, 100 + 50 * i, n) + stained * rng.lognormal(8.5, 1.2, n)
    rows = rng.choice(n, n // 1000, replace=False)
    values[rows] *= -10
    values[rows[: len(rows) // 2]] *= -30
    return values.astype(np.float32).astype(np.float64)


def subject(name: str, values: np.ndarray) -> Callable[[], np.ndarray]:
    """Return the call to be timed; what it imports and prepares is outside of it.

    Imports stand here so that each process holds its own subject only.
    """
    if name.startswith("copy"):
        return lambda: np.copy(values)
    if name == "flowutils":
        from flowutils import transforms  # noqa: PLC0415

        return lambda: transforms.logicle(values, None, **SCALE)
    if name == "flowkit":
        import flowkit  # noqa: PLC0415

        scale = flowkit.transforms.LogicleTransform(*(SCALE[key] for key in ("t", "w", "m", "a")))
        return lambda: scale.apply(values)
    from cellprec.cytometry.scales.logicle import logicle, logicle_inverse  # noqa: PLC0415

    if name == "transform32":
        return _whole(values)
    if name == "back64":
        scaled = logicle(values, **SCALE)
        return lambda: logicle_inverse(scaled, **SCALE)
    return lambda: logicle(values, **SCALE)


def _whole(values: np.ndarray) -> Callable[[], np.ndarray]:
    import anndata  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    from cellprec.cytometry.scales.transform import transform  # noqa: PLC0415

    names = [f"c{i}" for i in range(CHANNELS)]
    var = pd.DataFrame({"kind": ["fluorescence"] * CHANNELS}, index=names)
    parameters = pd.DataFrame({"transform": "logicle", **SCALE, "cofactor": np.nan}, index=names).assign(w=WIDTHS)
    adata = anndata.AnnData(values, var=var)
    adata.layers["compensated"] = values

    def run() -> np.ndarray:
        transform(adata, parameters=parameters)
        return adata.X

    return run


def measure(name: str, folder: Path, *, repeats: int) -> dict[str, Any]:
    """Time one subject in this process; the first call, which may compile, is told apart.

    Small results are kept, so that every call writes to memory it has not had before, as calls of full size do.
    """
    values = np.load(folder / ("events32.npy" if name.endswith("32") else "events64.npy"))
    run = subject(name, values)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    start = time.perf_counter()
    result = run()
    first = time.perf_counter() - start
    if not (folder / f"{name}.npy").exists():
        np.save(folder / f"{name}.npy", result)
    walls, cpus = [], []
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    kept = [result] if values.nbytes < 2**26 else []
    del result
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        kept.append(run())
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        if values.nbytes >= 2**26:
            kept.clear()
    return {"first": first, "walls": walls, "cpus": cpus, "memory": peak / values.nbytes}


def largest_errors(folder: Path) -> dict[str, float]:
    """Compare every value with FlowUtils, then all legal corners with values far beyond both ends of the scale."""
    from flowutils import transforms  # noqa: PLC0415

    from cellprec.cytometry.scales.logicle import logicle, logicle_inverse, logicle_scale  # noqa: PLC0415

    events = np.load(folder / "events64.npy", mmap_mode="r")
    theirs = np.load(folder / "flowutils.npy", mmap_mode="r")
    error = max(
        float(np.abs(np.load(folder / f"{name}.npy", mmap_mode="r")[:, i] - theirs[:, i]).max())
        for name in ("ours32", "ours64")
        for i in range(CHANNELS)
    )
    rows = slice(0, 50_000)
    whole = np.load(folder / "transform32.npy", mmap_mode="r")
    for i, width in enumerate(WIDTHS):
        exact = transforms.logicle(np.array(events[rows, i]), None, **{**SCALE, "w": width})
        error = max(error, float(np.abs(whole[rows, i] - exact).max()))
    back = np.load(folder / "back64.npy", mmap_mode="r")[rows]
    trip = float((np.abs(back - events[rows]) / np.maximum(np.abs(events[rows]), 1)).max())
    far = np.concatenate([[0.0], np.geomspace(1e-9, 1e3, 5000)])
    far = np.concatenate([-far, far])
    unsolved = 0
    for scale in LEGAL:
        x = far * scale["t"]
        y = logicle(x, **scale)
        with np.errstate(all="ignore"):
            exact = transforms.logicle(x, None, **scale)
            # FlowUtils ends in a wrong place for some values (often -1): its own inverse tells which
            at_hand = transforms.logicle_inverse(exact, None, **scale)
        curve = logicle_scale(**scale)
        unit = curve.up + curve.down
        solved = np.abs(at_hand - x) <= 1e-6 * np.abs(x) + 1e-9 * unit
        unsolved += int((~solved).sum())
        error = max(error, float(np.abs(y - exact)[solved].max()))
        trip = max(trip, float((np.abs(logicle_inverse(y, **scale) - x) / np.maximum(np.abs(x), 1e-3 * unit)).max()))
    return {"max_error": error, "roundtrip_error": trip, "unsolved": unsolved, "tried": len(LEGAL) * len(far)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 events instead of 1,000,000")
    parser.add_argument("--rounds", type=int, default=3, help="turns of every subject")
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.subject:
        repeats = 1 if options.subject.startswith("flow") else 5
        sys.stdout.write(json.dumps(measure(options.subject, options.folder, repeats=repeats)))
        return
    n = 100_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events = make_events(n)
        np.save(folder / "events64.npy", events)
        np.save(folder / "events32.npy", events.astype(np.float32))
        del events
        runs: dict[str, list[dict[str, Any]]] = {key: [] for key in SUBJECTS}
        for _ in range(options.rounds):
            for key in SUBJECTS:
                command = [sys.executable, __file__, "--subject", key, "--folder", name]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                runs[key].append(json.loads(done.stdout))
        errors = largest_errors(folder)
    tell(runs, errors=errors, n=n)


def tell(runs: dict[str, list[dict[str, Any]]], *, errors: dict[str, float], n: int) -> None:
    walls = {key: [wall for one in turns for wall in one["walls"]] for key, turns in runs.items()}
    best = {key: min(found) for key, found in walls.items()}
    floor = {key: best["copy32" if key.endswith("32") else "copy64"] for key in runs}
    print(f"{n:,} events x {CHANNELS} channels\n")
    print(f"{'':32}{'min s':>9}{'median s':>10}{'CPU s':>8}{'ns/value':>10}{'x copy':>8}{'RSS/data':>10}{'first s':>9}")
    for key, label in SUBJECTS.items():
        cpu = min(cpu for one in runs[key] for cpu in one["cpus"])
        memory = max(one["memory"] for one in runs[key])
        first = median(one["first"] for one in runs[key])
        print(
            f"{label:32}{best[key]:9.4f}{median(walls[key]):10.4f}{cpu:8.3f}{best[key] / n / CHANNELS * 1e9:10.2f}"
            f"{best[key] / floor[key]:8.1f}{memory:10.2f}{first:9.3f}"
        )
    print(
        f"\nlargest error beside FlowUtils {errors['max_error']:.2g}; there and back {errors['roundtrip_error']:.2g} "
        f"(64 bits, relative); FlowUtils ended in a wrong place for {errors['unsolved']} of {errors['tried']} values "
        f"of the legal corners, which were left out\nRSS/data: what the first call adds to peak memory, over the "
        f"data\nfirst: a first call, with compiling\n"
    )
    result = {
        "copy_ratio": max(best[key] / floor[key] for key in ("ours32", "ours64")),
        "max_error": errors["max_error"],
        "flowkit_speedup": best["flowkit"] / best["ours64"],
        "flowutils_speedup": best["flowutils"] / best["ours64"],
        "transform_ratio": best["transform32"] / floor["transform32"],
        "roundtrip_error": errors["roundtrip_error"],
    }
    print("RESULT", *(f"{key}={value:.4g}" for key, value in result.items()))


if __name__ == "__main__":
    main()
