"""How fast and in how much memory are events compensated, beside FlowKit, flowutils and the floor?

    python benchmarks/compensate.py            1,000,000 events x 23 channels, 20 of them in the matrix
    python benchmarks/compensate.py --quick    100,000 events

The floor is what cannot be saved: one copy of the events (``copy``), and one 32-bit product with a matrix that is
inverted already (``matmul``). ``cellprec`` is the whole of ``compensate``: it keeps the raw layer and makes two arrays,
the compensated layer and X. Each runs in processes of its own, in turn, several times, on one thread, after a small
run.

RESULT
    copy_ratio       wall seconds of ``compensate`` over those of the copy, best runs
    max_error        largest error relative to the value (or to 1) against flowutils in 64 bits
    flowkit_speedup  wall seconds of FlowKit's ``Matrix.apply`` over those of ``compensate``, best runs
    rss_ratio        peak memory of ``compensate`` above that of the process before it, over the bytes of the events
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_DYES = 20
NAMES = ["FSC-A", "SSC-A", *(f"B{i}-A" for i in range(N_DYES)), "Time"]
USED = list(range(2, 2 + N_DYES))
ROWS = 50_000
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


def main() -> None:
    """Run each in turn, print the table and the RESULT line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="100,000 events instead of 1,000,000")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each")
    parser.add_argument("--runs", type=int, default=3, help="runs in each process")
    parser.add_argument("--child", nargs=2, metavar=("NAME", "EVENTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(run_child(arguments.child[0], int(arguments.child[1]), runs=arguments.runs)))
        return
    n_events = 100_000 if arguments.quick else 1_000_000
    done: dict[str, list[dict[str, Any]]] = {name: [] for name in RUNS}
    for _ in range(arguments.rounds):
        for name, results in done.items():
            command = [sys.executable, __file__, "--runs", str(arguments.runs), "--child", name, str(n_events)]
            child = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | ONE_THREAD)
            if child.returncode:
                sys.exit(f"{name} failed:\n{child.stderr}")
            results.append(json.loads(child.stdout.splitlines()[-1]))
    size = n_events * len(NAMES) * 4
    print(f"{n_events:,} events x {len(NAMES)} channels, {N_DYES} dyes: {size / 1e6:.0f} MB in 32 bits")
    print(f"{'':12}{'wall min':>10}{'median':>10}{'CPU s':>10}{'peak / data':>13}{'x copy':>9}")
    best = {name: min(min(run["wall"]) for run in runs) for name, runs in done.items()}
    rss = {name: max(run["peak"] - run["before"] for run in runs) / size for name, runs in done.items()}
    for name, runs in done.items():
        walls = [wall for run in runs for wall in run["wall"]]
        cpu = min(min(run["cpu"]) for run in runs)
        ratio = best[name] / best["copy"]
        print(f"{name:12}{best[name]:10.4f}{statistics.median(walls):10.4f}{cpu:10.4f}{rss[name]:13.2f}{ratio:9.1f}")
    error = max(run["error"] for run in done["cellprec"])
    print(
        f"RESULT copy_ratio={best['cellprec'] / best['copy']:.2f} max_error={error:.3g} "
        f"flowkit_speedup={best['FlowKit'] / best['cellprec']:.2f} rss_ratio={rss['cellprec']:.2f}"
    )


def made(n_events: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return events as a cytometer gives them, and the matrix through which they were seen."""
    rng = np.random.default_rng(0)
    matrix = np.where(rng.random((N_DYES, N_DYES)) < 0.5, rng.gamma(0.5, 0.1, (N_DYES, N_DYES)), 0.0)
    np.fill_diagonal(matrix, 1.0)
    events = np.empty((n_events, len(NAMES)), dtype=np.float32)
    for start in range(0, n_events, ROWS):
        block = rng.lognormal(6, 2, (min(ROWS, n_events - start), len(NAMES)))
        block[:, USED] = block[:, USED] @ matrix + rng.normal(0, 30, (len(block), N_DYES))
        events[start : start + ROWS] = block
    return events, matrix


def run_child(name: str, n_events: int, *, runs: int) -> dict[str, Any]:
    """Run one of them in this process: seconds, memory before and at the peak, error."""
    warnings.simplefilter("ignore")
    events, matrix = made(n_events)
    small = events[:1000].copy()
    prepare = RUNS[name]
    prepare(small, matrix)()
    wall, cpu = [], []
    before, result = 0, None
    for run in range(runs):
        result = None
        work = prepare(events.copy(), matrix)
        before = before or resident()
        started, worked = time.perf_counter(), time.process_time()
        result = work()
        cpu.append(time.process_time() - worked)
        wall.append(time.perf_counter() - started)
        if not run:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"wall": wall, "cpu": cpu, "before": before, "peak": peak, "error": error_of(result, events, matrix)}


def error_of(result: Any, events: NDArray[np.float32], matrix: NDArray[np.float64]) -> float:
    """Return the largest relative error of some rows against flowutils in 64 bits."""
    from flowutils.compensate import compensate  # noqa: PLC0415 (not counted as memory before the run)

    some = slice(None, None, max(len(events) // ROWS, 1))
    exact = compensate(events[some].astype(np.float64), matrix, USED)
    found = np.asarray(result)[some]
    if found.shape != exact.shape:
        exact = exact[:, USED]
    return float((np.abs(found - exact) / np.maximum(np.abs(exact), 1)).max())


def resident() -> int:
    """Return the memory of this process now, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _copy(events: NDArray[np.float32], _: NDArray[np.float64]) -> Callable[[], Any]:
    return events.copy


def _matmul(events: NDArray[np.float32], matrix: NDArray[np.float64]) -> Callable[[], Any]:
    inverse = np.linalg.inv(matrix).astype(np.float32)
    return lambda: events[:, 2 : 2 + N_DYES] @ inverse


def _cellprec(events: NDArray[np.float32], matrix: NDArray[np.float64]) -> Callable[[], Any]:
    import anndata  # noqa: PLC0415 (each process loads its own)
    import pandas as pd  # noqa: PLC0415

    from cellprec.cytometry.compensation.compensate import compensate  # noqa: PLC0415

    kinds = ["scatter"] * 2 + ["fluorescence"] * N_DYES + ["time"]
    adata = anndata.AnnData(events, var=pd.DataFrame({"channel": NAMES, "kind": kinds}, index=NAMES))
    full = np.eye(len(NAMES))
    full[np.ix_(USED, USED)] = matrix
    adata.varp["spillover"] = full

    def work() -> Any:
        compensate(adata)
        return adata.X

    return work


def _flowutils(events: NDArray[np.float32], matrix: NDArray[np.float64]) -> Callable[[], Any]:
    from flowutils.compensate import compensate  # noqa: PLC0415

    return lambda: compensate(events, matrix, USED)


def _flowkit(events: NDArray[np.float32], matrix: NDArray[np.float64]) -> Callable[[], Any]:
    import flowkit  # noqa: PLC0415

    sample = flowkit.Sample(events, channel_labels=NAMES, sample_id="events")
    compensation = flowkit.Matrix(matrix, [NAMES[i] for i in USED])
    return lambda: compensation.apply(sample)


RUNS: dict[str, Callable[[NDArray[np.float32], NDArray[np.float64]], Callable[[], Any]]] = {
    "copy": _copy,
    "matmul": _matmul,
    "cellprec": _cellprec,
    "flowutils": _flowutils,
    "FlowKit": _flowkit,
}

if __name__ == "__main__":
    main()
