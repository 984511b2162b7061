"""A simulated barcoding experiment: resistant clones are planted before the drug, and the reads are real FASTQ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.errors import UsageError
from cellprec.simulate.files import Floats, new_folder, write_csv
from cellprec.simulate.growth import Cells, Culture, advantage, grow_pool, treat
from cellprec.simulate.reads import simulate_reads

VEHICLE: Final = "vehicle"
COMBINATION: Final = "combination"
LEFT: Final = "TGACTCGAGCTAGCATCG"
RIGHT: Final = "GGATCCTTAGCCGTACAAGTCC"
BARCODE_LENGTH: Final = 20

_STUDY: Final = """\
# A simulated barcoding experiment: mantle-cell lymphoma under two drugs and both. What was planted is in truth.csv.
name: Barcoded lymphoma under two drugs (simulated)
seed: {seed}

samples: samples.csv        # one row per library
results: results
timepoints: [t0, end]
truth: truth.csv            # only a simulated study has one: the report compares found with planted

settings:
  reads: {{left: {left}, right: {right}, pattern: N{length}}}   # what stands around the barcode, and its length
  clones: {{control: {vehicle}}}                                    # the arm that the others are compared with
"""


def simulate_barcoding(
    folder: Path | str, *, n_clones: int = 2000, n_reads: int = 150_000, replicates: int = 3, seed: int = 1
) -> Path:
    """Write a barcoding study with known truth: FASTQ of a pool before, and of flasks after, two drugs and both.

    Of 2,000 clones 20 resist ibrutinib, 20 venetoclax and 4 both (in other libraries 1 %, 1 % and 0.2 %). They were
    there before the drug. All flasks are split from one expanded pool; cells die, regrow and pass a bottleneck;
    libraries have PCR jackpots, and reads have 0.5 % substitutions, lower qualities at errors, and 1 % junk.

    Parameters
    ----------
    folder
        A new or empty folder.
    n_clones
        Barcodes in the library.
    n_reads
        Reads per library.
    replicates
        Libraries of the pool, and flasks of each arm.

    Returns
    -------
    Path
        ``study.yaml``. Beside it ``truth.csv``: for each contrast the planted clones, the expected log2 fold of their
        frequency over vehicle, and their frequency at the start.

    Raises
    ------
    UsageError
        If the folder holds something already, or the resistant clones have no room among ``n_clones``.

    Examples
    --------
    >>> import tempfile
    >>> study = simulate_barcoding(Path(tempfile.mkdtemp()) / "demo", n_clones=500, n_reads=100, replicates=1)
    >>> len(list(study.parent.glob("fastq/*.fastq.gz")))
    5
    """
    libraries = simulate_counts(
        n_clones=n_clones,
        n_reads=n_reads,
        replicates=replicates,
        drugs=("ibrutinib", "venetoclax"),
        resistant=max(1, n_clones // 100),
        both=max(1, n_clones // 500),
        seed=seed,
    )
    with new_folder(folder) as root:
        _write_reads(root, libraries, seed=seed)
        sheet = libraries.obs.reset_index(drop=True)
        sheet.insert(1, keys.MODALITY, "fastq")
        sheet.insert(2, "path", [f"fastq/{sample}.fastq.gz" for sample in libraries.obs_names])
        write_csv(root / "samples.csv", sheet)
        write_csv(root / "truth.csv", libraries.uns["truth"])
        text = _STUDY.format(seed=seed, left=LEFT, right=RIGHT, length=BARCODE_LENGTH, vehicle=VEHICLE)
        (root / "study.yaml").write_text(text, encoding="utf-8")
    return Path(folder).expanduser().absolute() / "study.yaml"


def _write_reads(root: Path, libraries: AnnData, *, seed: int) -> None:
    (root / "fastq").mkdir()
    for i, sample in enumerate(libraries.obs_names):
        simulate_reads(
            root / "fastq" / f"{sample}.fastq.gz",
            sequences=list(libraries.var_names),
            counts=np.asarray(libraries.X[i]).astype(np.int64),
            left=LEFT,
            right=RIGHT,
            seed=seed * 1000 + i,
        )


def simulate_counts(
    *,
    n_clones: int = 2000,
    replicates: int = 3,
    drugs: Sequence[str] = ("drug",),
    resistant: int = 20,
    both: int = 0,
    fold: tuple[float, float] = (4.0, 60.0),
    n_reads: int = 150_000,
    culture: Culture | None = None,
    pcr_sd: float = 0.1,
    jackpots: float = 0.001,
    seed: int = 0,
) -> AnnData:
    """Simulate the clone counts of a drug experiment, without files: what a perfect reader would make of the FASTQ.

    Parameters
    ----------
    n_clones, replicates
        Barcodes in the library; libraries of the pool, and flasks of each arm.
    drugs
        Arms beside vehicle; two drugs add their combination, which only clones that resist both withstand.
    resistant, both
        Clones that resist each drug alone, and all drugs; 0 makes a null experiment.
    fold
        Range of the expected fold of resistant clones over vehicle, drawn evenly in its logarithm. They are neither
        of the smallest quarter nor of the largest twentieth of clones.
    n_reads, culture
        Reads per library; numbers of cells at each bottleneck.
    pcr_sd, jackpots
        SD of the log amplification of a clone in a library; chance that it is over-amplified, three-fold on average.

    Returns
    -------
    AnnData
        Samples × clones: reads in X, ``layers["frequency"]``, obs ``arm``, ``timepoint`` (t0, end), ``replicate``;
        var ``sequence`` and ``source``. ``uns["truth"]`` holds one row per contrast and planted clone: ``kind``,
        ``question``, ``name``, ``effect`` (log2 of the expected fold), ``t0_frequency``.

    Raises
    ------
    UsageError
        If the resistant clones have no room in the library or the culture.

    Examples
    --------
    >>> adata = simulate_counts(n_clones=300, resistant=5, n_reads=10_000)
    >>> adata.shape, len(adata.uns["truth"])
    ((9, 300), 5)
    """
    n_resistant = resistant * len(drugs) + both
    if n_resistant > 0.2 * n_clones:
        raise UsageError(f"{n_resistant} resistant clones are too many among {n_clones}", fix="Plant at most a fifth.")
    rng = np.random.default_rng(seed)
    culture = culture or Culture()
    sequences = _barcodes(n_clones, rng)
    rate = np.exp(rng.normal(0, culture.fitness, n_clones))
    pool = grow_pool(n_clones, culture=culture, rng=rng)
    experiment = _plant(pool / pool.sum(), rate, drugs=drugs, resistant=resistant, both=both, fold=fold, rng=rng)
    rows = [("t0", "", "t0", i, pool) for i in range(1, replicates + 1)]
    for arm, relative in experiment.advantage.items():
        survival = relative * (1.0 if arm == VEHICLE else min(1 - culture.kill, 1 / float(relative.max())))
        flasks = [treat(pool, survival=survival, culture=culture, rate=rate, rng=rng) for _ in range(replicates)]
        rows += [(arm, arm, "end", i, cells) for i, cells in enumerate(flasks, start=1)]
    reads = np.stack([_sequence(cells, n_reads, pcr_sd, jackpots, rng) for *_, cells in rows])
    truth = experiment.truth.assign(name=[sequences[i] for i in experiment.truth["name"]])
    return _assemble(reads, rows, sequences, truth)


@dataclass(frozen=True)
class _Experiment:
    """Relative survival of each clone in each arm, and the table of what was planted."""

    advantage: dict[str, Floats]
    truth: pd.DataFrame


def _plant(
    start: Floats,
    rate: Floats,
    *,
    drugs: Sequence[str],
    resistant: int,
    both: int,
    fold: tuple[float, float],
    rng: np.random.Generator,
) -> _Experiment:
    n = len(start)
    by_size = np.argsort(start, kind="stable")
    chosen = rng.permutation(by_size[n // 4 : n - n // 20])[: resistant * len(drugs) + both]
    to_all = chosen[resistant * len(drugs) :]
    expected = start * rate / (start * rate).sum()
    relative: dict[str, Floats] = {VEHICLE: np.ones(n)}
    for i, drug in enumerate(drugs):
        clones = np.concatenate([chosen[i * resistant : (i + 1) * resistant], to_all])
        folds = np.ones(n)
        folds[clones] = np.exp(rng.uniform(np.log(fold[0]), np.log(fold[1]), len(clones)))
        relative[drug] = advantage(expected, folds)
    if len(drugs) == 2:  # a cell must withstand both; the clone is as safe as against the drug it bears less well
        relative[COMBINATION] = np.minimum(relative[drugs[0]], relative[drugs[1]])
    rows = []
    for arm, times in relative.items():
        effect = np.log2(times / (expected * times).sum())
        rows += [("clone", f"{arm} vs {VEHICLE}", int(i), effect[i], start[i]) for i in sorted(chosen) if times[i] > 1]
    return _Experiment(relative, pd.DataFrame(rows, columns=["kind", "question", "name", "effect", "t0_frequency"]))


def _sequence(cells: Cells, n_reads: int, pcr_sd: float, jackpots: float, rng: np.random.Generator) -> Cells:
    """Draw the reads of a library: genomes into the PCR, uneven amplification, jackpots, reads."""
    genomes = rng.binomial(cells, min(1.0, 4 * n_reads / max(int(cells.sum()), 1)))
    weight = genomes * np.exp(rng.normal(0, pcr_sd, len(cells)))
    struck = rng.random(len(cells)) < jackpots
    weight = weight * np.where(struck, 1 + rng.exponential(2.0, len(cells)), 1.0)
    if not weight.sum():
        return np.zeros(len(cells), np.int64)
    return rng.multinomial(n_reads, weight / weight.sum())


def _barcodes(n: int, rng: np.random.Generator) -> list[str]:
    drawn = rng.choice(np.frombuffer(b"ACGT", np.uint8), (n + n // 10 + 10, BARCODE_LENGTH))
    return list(dict.fromkeys(row.tobytes().decode() for row in drawn))[:n]


def _assemble(
    reads: Cells, rows: Sequence[tuple[str, str, str, int, Cells]], sequences: list[str], truth: pd.DataFrame
) -> AnnData:
    samples = [f"{label}_{replicate}" for label, _, _, replicate, _ in rows]
    columns: Mapping[str, list[str]] = {
        keys.SAMPLE_ID: samples,
        keys.ARM: [arm for _, arm, *_ in rows],
        keys.TIMEPOINT: [timepoint for _, _, timepoint, *_ in rows],
        keys.REPLICATE: [str(replicate) for *_, replicate, _ in rows],
    }
    obs = pd.DataFrame(columns, index=pd.Index(samples)).astype("category")
    var = pd.DataFrame({keys.SEQUENCE: sequences}, index=pd.Index(sequences))
    var[keys.SOURCE] = pd.Categorical(["barcode"] * len(sequences))
    counts = reads.astype(np.float32)
    frequency = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    uns = {keys.UNS: {keys.UNIT: "reads"}, "truth": truth}
    return AnnData(counts, obs=obs, var=var, layers={keys.FREQUENCY: frequency.astype(np.float32)}, uns=uns)
