"""Errors must return to their barcode, and true barcodes must stay, however similar."""

from __future__ import annotations

import os
import time
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprec.barcodes.correct import CORRECTION, correct
from cellprec.barcodes.extract import extract
from cellprec.barcodes.neighbors import deletion_pairs, encode, substitution_pairs
from cellprec.errors import InputError, UsageError
from cellprec.io.counts import clone_counts
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[3] / "shared" / "data")) / "barcodes"
PARENT = "ACGTACGTACGTACGTACGT"
NEIGHBOR = "ACGTACGAACGTACGTACGT"


def as_counts(counts: dict[str, int]):
    return clone_counts(list(counts), np.array(list(counts.values())), sample_id="s")


def simulate(
    *, n: int = 5000, length: int = 20, error: float = 0.01, reads: int = 500_000, seed: int = 0
) -> tuple[dict[str, int], dict[str, int]]:
    """Return read counts of sequences with errors, and the true counts of the barcodes."""
    rng = np.random.default_rng(seed)
    barcodes = rng.integers(0, 4, (n, length))
    weight = rng.lognormal(0, 1.5, n)
    true = rng.multinomial(reads, weight / weight.sum())
    matrix = np.repeat(barcodes, true, axis=0)
    wrong = rng.random(matrix.shape) < error
    matrix[wrong] = (matrix[wrong] + rng.integers(1, 4, wrong.sum())) % 4
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    seen = Counter(row.tobytes().decode() for row in letters[matrix])
    names = [row.tobytes().decode() for row in letters[barcodes]]
    return dict(seen), dict(zip(names, true.tolist(), strict=True))


def at_least(adata, reads: int) -> set[str]:
    return set(adata.var_names[adata.X.toarray()[0] >= reads])


@pytest.mark.parametrize("length", [12, 20, 32])
def test_one_percent_errors(length: int) -> None:
    seen, true = simulate(length=length, reads=300_000)
    raw = as_counts(seen)
    fixed = correct(raw)
    called = at_least(fixed, 10)
    present = {name for name, count in true.items() if count >= 10}
    assert len(called & set(true)) / len(called) >= 0.97
    assert len(called & present) / len(present) >= 0.97
    assert len(at_least(raw, 10) - set(true)) > 20  # the test can fail: without correction false barcodes are called
    assert fixed.X.sum() == raw.X.sum()
    assert fixed.uns[CORRECTION]["error_rate"] == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(("parent", "child"), [(1000, 300), (10_000, 500), (5000, 4000), (100_000, 2000)])
def test_two_abundant_neighbors_stay_apart(parent: int, child: int) -> None:
    rng = np.random.default_rng(3)
    seen, _ = simulate(n=1000, reads=100_000)
    for place in range(20):
        for base in set("ACGT") - {PARENT[place]}:
            variant = PARENT[:place] + base + PARENT[place + 1 :]
            seen[variant] = int(rng.poisson(parent * 0.01 / 3)) or 1
    seen |= {PARENT: parent, NEIGHBOR: child}
    fixed = correct(as_counts(seen))
    assert {PARENT, NEIGHBOR} <= set(fixed.var_names)
    assert not [name for name in at_least(fixed, 10) if name not in {PARENT, NEIGHBOR} and hamming(name, PARENT) == 1]


def hamming(one: str, other: str) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def test_errors_of_errors_follow_to_the_barcode() -> None:
    middle, end = NEIGHBOR, NEIGHBOR[:-1] + "C"
    fixed = correct(as_counts({PARENT: 10_000, middle: 30, end: 1}))
    assert fixed.to_df().iloc[0].to_dict() == {PARENT: 10_031}
    assert fixed.var["n_merged"].tolist() == [2]


def test_insertions_and_deletions_where_lengths_vary() -> None:
    fixed = correct(as_counts({PARENT: 10_000, PARENT[:4] + PARENT[5:]: 8, PARENT[:4] + "T" + PARENT[4:]: 5}))
    assert fixed.var_names.tolist() == [PARENT]


def test_two_substitutions_only_if_asked() -> None:
    far = "TCGTACGTACGTACGTACGA"
    counts = {PARENT: 100_000, NEIGHBOR: 300, far: 1}
    assert far in correct(as_counts(counts)).var_names
    assert far not in correct(as_counts(counts), max_distance=2).var_names


def test_whitelist() -> None:
    counts = {PARENT: 100, NEIGHBOR: 60, "ACGTACGTACGTACGTACGG": 50, "T" * 20: 7}
    fixed = correct(as_counts(counts), whitelist=[PARENT, NEIGHBOR, "G" * 20])
    assert fixed.to_df().iloc[0].to_dict() == {PARENT: 150, NEIGHBOR: 60}
    assert fixed.uns[CORRECTION]["reads_dropped"] == 7
    assert {note.code: note.count for note in get_notes(fixed)}["barcodes.unlisted"] == 7
    with pytest.raises(InputError, match="none of"):
        correct(as_counts(counts), whitelist=["C" * 20])


def test_a_tie_between_listed_barcodes_is_not_guessed() -> None:
    middle = PARENT[:-1] + "C"
    fixed = correct(as_counts({PARENT: 5, PARENT[:-1] + "G": 5, middle: 3}), whitelist=[PARENT, PARENT[:-1] + "G"])
    assert fixed.X.sum() == 10


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("AC", min_size=6, max_size=7), st.integers(1, 10**6), min_size=1, max_size=40))
def test_reads_are_kept_and_order_does_not_matter(counts: dict[str, int]) -> None:
    fixed = correct(as_counts(counts))
    assert fixed.X.sum() == pytest.approx(sum(counts.values()), rel=1e-6)
    again = correct(as_counts(dict(reversed(counts.items()))))
    assert again.to_df().equals(fixed.to_df())
    assert set(fixed.var_names) <= set(counts)
    assert max(counts, key=lambda name: (counts[name], [-ord(c) for c in name])) in fixed.var_names


@settings(max_examples=60, deadline=None)
@given(st.sets(st.text("ACGT", min_size=5, max_size=5), min_size=1, max_size=40), st.integers(1, 2))
def test_neighbors_are_those_of_a_comparison_of_all_with_all(names: set[str], distance: int) -> None:
    listed = sorted(names)
    expected = {(a, b) for a, b in combinations(range(len(listed)), 2) if hamming(listed[a], listed[b]) == distance}
    pairs = [
        tuple(sorted(pair))
        for one, other, _ in substitution_pairs(encode(listed), distance=distance)
        for pair in zip(one.tolist(), other.tolist(), strict=True)
    ]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == expected


@settings(max_examples=40, deadline=None)
@given(st.sets(st.text("AC", min_size=3, max_size=5), min_size=1, max_size=30))
def test_deletions_are_those_of_a_comparison_of_all_with_all(names: set[str]) -> None:
    listed = sorted(names)
    expected = {
        (a, b)
        for a, one in enumerate(listed)
        for b, other in enumerate(listed)
        if any(one[:at] + one[at + 1 :] == other for at in range(len(one)))
    }
    assert set(zip(*(ids.tolist() for ids in deletion_pairs(listed)), strict=True)) == expected


def test_a_hundred_thousand_sequences_take_seconds() -> None:
    seen, _ = simulate(n=8000, reads=800_000)
    assert len(seen) > 100_000
    raw = as_counts(seen)
    begin = time.process_time()
    correct(raw)
    assert time.process_time() - begin < 5


def test_bad_calls_are_refused() -> None:
    raw = as_counts({PARENT: 5})
    with pytest.raises(UsageError, match="max_distance"):
        correct(raw, max_distance=3)
    with pytest.raises(UsageError, match="ratio"):
        correct(raw, ratio=0.5)
    with pytest.raises(InputError, match="BFP_"):
        correct(as_counts({"BFP_1": 5, "BFP_2": 7}))


def test_nothing_to_correct(tmp_path: Path) -> None:
    fixed = correct(as_counts({}))
    assert fixed.shape == (1, 0)
    fixed.write_h5ad(tmp_path / "s.h5ad")


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="real data sets are absent")
def test_six_known_barcodes() -> None:
    pattern = "ACTNNCGANNCTTNNCGANNCTTNNGGANNCTANNACTNNCGANNCTTNNCGANNCTTNNGGANNCTANNACTNNCGANN"
    folder = DATA / "genbarcode_bc32"
    raw = extract(folder / "test_data.fastq.gz", sample_id="s", right="CTCGAGA", pattern=pattern)
    known = set((folder / "knownBCs.txt").read_text().split())
    free = [place for place, letter in enumerate(pattern) if letter == "N"]
    called = {"".join(name[place] for place in free) for name in at_least(correct(raw), 25)}
    assert called == known
    assert len(at_least(raw, 25)) > 6
