"""How fast and in how much memory is a large FCS file read, beside other readers and the floor?

    python benchmarks/fcs_read.py            2,000,000 events x 23 float32 (184 MB), little and big endian
    python benchmarks/fcs_read.py --quick    200,000 events

The floor is what any reader must do: ``np.fromfile`` at the place of the data, bytes swapped in place where they are
big endian, reshaped. Every reader runs in processes of its own, in turn, several times; each reads a tiny file first
(so that lazy imports are not counted) and then the large one, from the page cache. All must give the same values.

RESULT (worst of both byte orders):
    floor_ratio      wall seconds of ``read_fcs`` (an AnnData with named events) over those of the floor, best runs
    events_ratio     the same of ``read_fcs_events`` (the numbers alone)
    rss_ratio        peak memory of ``read_fcs`` above that of the process before it reads, over the bytes of the data
    rss_total_ratio  the whole peak of that process, interpreter and imported packages included, over the data
    best_peer_ratio  wall seconds of the fastest other reader over those of the floor
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

N_CHANNELS = 23
CHUNK = 100_000
ORDERS = {"little": "<", "big": ">"}
OURS = ("read_fcs", "read_fcs_events")
PEERS = {"flowio": "flowio", "FlowKit": "flowkit", "readfcs": "readfcs", "fcsparser": "fcsparser"}


def main() -> None:
    """Write the files, run every reader, print the table and the RESULT line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200,000 events instead of 2,000,000")
    parser.add_argument("--rounds", type=int, default=4, help="processes of each reader")
    parser.add_argument("--reads", type=int, default=3, help="reads of the large file in each process")
    parser.add_argument("--child", nargs=3, metavar=("READER", "FILE", "TINY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(run_child(*arguments.child, reads=arguments.reads)))
        return
    n_events = 200_000 if arguments.quick else 2_000_000
    with tempfile.TemporaryDirectory() as folder:
        runs = {}
        for order in ORDERS:
            file, tiny = Path(folder) / f"{order}.fcs", Path(folder) / f"{order}_tiny.fcs"
            digest = write_file(file, n_events=n_events, order=order)
            write_file(tiny, n_events=10, order=order)
            runs[order] = run_all(file, tiny, digest, rounds=arguments.rounds, reads=arguments.reads)
            file.unlink()
    data_bytes = n_events * N_CHANNELS * 4
    keys = [print_table(order, runs[order], data_bytes=data_bytes) for order in ORDERS]
    # the worst for us: our largest ratios, and the smallest of a peer
    worst = {key: (min if "peer" in key else max)(each[key] for each in keys) for key in keys[0]}
    print("RESULT " + " ".join(f"{key}={value:.3f}" for key, value in worst.items()))


def write_file(path: Path, *, n_events: int, order: str) -> str:
    """Write an FCS 3.1 file from the standard, with no code of any reader; return the digest of its values."""
    width = n_events * N_CHANNELS * 4
    pairs = {"BYTEORD": "1,2,3,4" if order == "little" else "4,3,2,1", "DATATYPE": "F", "MODE": "L", "NEXTDATA": "0"}
    pairs |= {"PAR": str(N_CHANNELS), "TOT": str(n_events), "BEGINANALYSIS": "0", "ENDANALYSIS": "0"}
    pairs |= {"BEGINSTEXT": "0", "ENDSTEXT": "0", "CYT": "benchmark"}
    for channel in range(1, N_CHANNELS + 1):
        pairs |= {f"P{channel}N": f"FL{channel}-A", f"P{channel}B": "32"}
        # readfcs opens no file without markers
        pairs |= {f"P{channel}S": f"marker {channel}", f"P{channel}E": "0,0", f"P{channel}R": "262144"}
    text = "/" + "".join(f"${key}/{value}/" for key, value in pairs.items())
    begin = 58 + len(text) + len(f"$BEGINDATA/{0:12}/$ENDDATA/{0:12}/")
    end = begin + width - 1
    text += f"$BEGINDATA/{begin:012}/$ENDDATA/{end:012}/"
    in_header = (begin, end) if end < 10**8 else (0, 0)
    header = "FCS3.1    " + "".join(f"{place:8}" for place in (58, begin - 1, *in_header, 0, 0))
    rng = np.random.default_rng(0)
    digest = hashlib.blake2b()
    with path.open("wb") as handle:
        handle.write((header + text).encode())
        for start in range(0, n_events, CHUNK):
            n = min(CHUNK, n_events - start)
            values = rng.lognormal(6, 2, (n, N_CHANNELS)).astype("<f4") - np.float32(100)
            digest.update(values.tobytes())
            handle.write(values.astype(f"{ORDERS[order]}f4").tobytes())
    return digest.hexdigest()


def run_all(file: Path, tiny: Path, digest: str, *, rounds: int, reads: int) -> dict[str, list[dict[str, Any]]]:
    """Run every reader in turn, round after round; one that is not installed is left out."""
    names = [name for name in ("floor", *OURS, *PEERS) if name not in PEERS or find_spec(PEERS[name])]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, done in runs.items():
            command = [sys.executable, __file__, "--reads", str(reads), "--child", name, str(file), str(tiny)]
            child = subprocess.run(command, check=False, capture_output=True, text=True)
            if child.returncode and name in PEERS:
                print(f"{name} cannot read the {file.stem} endian file: {child.stderr.splitlines()[-1]}", flush=True)
                continue
            if child.returncode:
                sys.exit(f"{name} failed:\n{child.stderr}")
            done.append(json.loads(child.stdout.splitlines()[-1]))
            if done[-1]["digest"] != digest:
                sys.exit(f"{name} does not give the values of the file")
    return runs


def run_child(name: str, file: str, tiny: str, *, reads: int) -> dict[str, Any]:
    """Read the file in this process: seconds of each read, memory before and at the peak, digest of the values."""
    warnings.simplefilter("ignore")
    read = READERS[name]()
    read(tiny)
    before = resident()
    wall, cpu = [], []
    values: Any = None
    for _ in range(reads):
        values = None
        started, worked = time.perf_counter(), time.process_time()
        values = read(file)
        cpu.append(time.process_time() - worked)
        wall.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    numbers = np.asarray(getattr(values, "X", values))
    digest = hashlib.blake2b()
    for start in range(0, len(numbers), CHUNK):
        digest.update(numbers[start : start + CHUNK].astype("<f4").tobytes())
    return {"wall": wall, "cpu": cpu, "before": before, "peak": peak, "digest": digest.hexdigest()}


def resident() -> int:
    """Return the memory of this process now, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _floor() -> Callable[[str], Any]:
    def read(path: str) -> Any:
        with Path(path).open("rb") as handle:
            head = handle.read(4096).decode("latin-1")
        words = head[58:].split("/")
        order = "<" if words[words.index("$BYTEORD") + 1] == "1,2,3,4" else ">"
        n_events, begin = (int(words[words.index(key) + 1]) for key in ("$TOT", "$BEGINDATA"))
        values = np.fromfile(path, dtype=f"{order}f4", count=n_events * N_CHANNELS, offset=begin)
        if order == ">":
            values = values.byteswap(inplace=True).view("<f4")
        return values.reshape(n_events, N_CHANNELS)

    return read


def _read_fcs() -> Callable[[str], Any]:
    read: Callable[[str], Any] = import_module("cellprec.io.fcs.read").read_fcs
    return read


def _read_fcs_events() -> Callable[[str], Any]:
    read = import_module("cellprec.io.fcs.read").read_fcs_events
    return lambda path: read(path)[0]


def _flowio() -> Callable[[str], Any]:
    package = import_module("flowio")
    return lambda path: package.FlowData(path).as_array()


def _flowkit() -> Callable[[str], Any]:
    package = import_module("flowkit")
    return lambda path: package.Sample(path).get_events(source="raw")


def _readfcs() -> Callable[[str], Any]:
    read: Callable[[str], Any] = import_module("readfcs").read
    return read


def _fcsparser() -> Callable[[str], Any]:
    package = import_module("fcsparser")
    return lambda path: package.parse(path)[1]


READERS: dict[str, Callable[[], Callable[[str], Any]]] = {
    "floor": _floor,
    "read_fcs": _read_fcs,
    "read_fcs_events": _read_fcs_events,
    "flowio": _flowio,
    "FlowKit": _flowkit,
    "readfcs": _readfcs,
    "fcsparser": _fcsparser,
}


def print_table(order: str, runs: dict[str, list[dict[str, Any]]], *, data_bytes: int) -> dict[str, float]:
    """Print what was measured for one byte order; return what RESULT needs of it."""
    print(f"\n{order} endian, {data_bytes / 1e6:.0f} MB of data")
    titles = ("wall min", "median", "CPU min", "x floor", "x CPU", "peak MB", "over imports", "x data")
    print(f"{'reader':16}" + "".join(f"{title:>13}" for title in titles))
    best: dict[str, float] = {}
    for name, each in runs.items():
        if not each:
            print(f"{name:16}  failed, see above")
            continue
        wall = [seconds for run in each for seconds in run["wall"]]
        cpu = min(seconds for run in each for seconds in run["cpu"])
        best[name], best[f"{name} cpu"] = min(wall), cpu
        over = statistics.median(run["peak"] - run["before"] for run in each) / data_bytes
        peak = statistics.median(run["peak"] for run in each)
        best[f"{name} over"], best[f"{name} peak"] = over, peak / data_bytes
        cells = (
            f"{min(wall):.3f} s",
            f"{statistics.median(wall):.3f} s",
            f"{cpu:.3f} s",
            f"{min(wall) / best['floor']:.2f}",
            f"{cpu / best['floor cpu']:.2f}",
            f"{peak / 1e6:.0f}",
            f"{over * data_bytes / 1e6:.0f}",
            f"{over:.2f}",
        )
        print(f"{name:16}" + "".join(f"{cell:>13}" for cell in cells), flush=True)
    for name in PEERS:
        if name not in runs:
            print(f"{name:16}  not installed")
    peers = [best[name] for name in PEERS if name in best]
    return {
        "floor_ratio": best["read_fcs"] / best["floor"],
        "rss_ratio": best["read_fcs over"],
        "best_peer_ratio": min(peers) / best["floor"] if peers else float("nan"),
        "events_ratio": best["read_fcs_events"] / best["floor"],
        "rss_total_ratio": best["read_fcs peak"],
    }


if __name__ == "__main__":
    main()
