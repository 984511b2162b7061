"""Chains, pairings and clonotypes of known cells, and of fixtures read by an independent library."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellprec.errors import FileFormatError, InputError
from cellprec.io.vdj import read_vdj
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[3] / "shared" / "data"))
COLUMNS = ["barcode", "is_cell", "high_confidence", "chain", "v_gene", "j_gene", "productive"]
COLUMNS += ["cdr3", "cdr3_nt", "reads", "umis"]


def contig(barcode: str, chain: str, nt: str, umis: int = 10, **other: object) -> dict[str, object]:
    row = {"barcode": barcode, "is_cell": True, "high_confidence": True, "chain": chain, "v_gene": f"{chain}V1"}
    row |= {"j_gene": f"{chain}J1", "productive": True, "cdr3": "C" + nt[:2], "cdr3_nt": nt, "reads": umis * 30}
    return row | {"umis": umis} | other


def read(folder: Path, rows: list[dict[str, object]]):
    path = folder / "contigs.csv"
    pd.DataFrame(rows)[COLUMNS].to_csv(path, index=False)
    return read_vdj(path, sample_id="P1")


CELLS = {
    "paired": ([("TRA", "AAA"), ("TRB", "CCC")], "TRA:AAA;TRB:CCC"),
    "extra alpha": ([("TRA", "TTT"), ("TRA", "AAA"), ("TRB", "CCC")], "TRA:AAA;TRA:TTT;TRB:CCC"),
    "orphan alpha": ([("TRA", "AAA")], "TRA:AAA"),
    "orphan beta": ([("TRB", "CCC")], "TRB:CCC"),
    "multichain": ([("TRA", "AAA"), ("TRB", "CCC"), ("TRB", "GGG")], ""),
    "orphan light": ([("IGK", "AAA")], "IGK:AAA"),
    "orphan heavy": ([("IGH", "AAA")], "IGH:AAA"),
    "extra light": ([("IGK", "AAA"), ("IGL", "CCC"), ("IGH", "GGG")], "IGH:GGG;IGK:AAA;IGL:CCC"),
    "orphan gamma": ([("TRG", "AAA")], "TRG:AAA"),
}


@pytest.mark.parametrize("pairing", CELLS)
def test_pairings_and_clonotypes(tmp_path: Path, pairing: str) -> None:
    chains, clonotype = CELLS[pairing]
    obs = read(tmp_path, [contig("AAAC-1", *chain) for chain in chains]).obs.iloc[0]
    assert (obs["chain_pairing"], obs["clonotype"]) == (pairing, clonotype)
    assert obs["n_contigs"] == len(chains)


def test_three_alphas_or_both_lineages_are_two_cells(tmp_path: Path) -> None:
    rows = [contig("A-1", "TRA", nt) for nt in ("AAA", "CCC", "GGG")]
    rows += [contig("B-1", "TRB", "AAA"), contig("B-1", "IGH", "CCC", 4)]
    rows += [contig("C-1", "TRB", "AAA"), contig("C-1", "IGH", "CCC", 1)]
    obs = read(tmp_path, rows).obs
    assert obs["chain_pairing"].tolist() == ["multichain", "multichain", "orphan beta"]
    assert obs["clonotype"].tolist() == ["", "", "TRB:AAA"]


def test_ambient_chains_do_not_make_doublets(tmp_path: Path) -> None:
    rows = [contig("A-1", "TRB", "AAA", 30), contig("A-1", "TRB", "CCC", 1), contig("A-1", "TRB", "GGG", 2)]
    adata = read(tmp_path, rows)
    assert adata.obs["chain_pairing"].tolist() == ["orphan beta"]
    assert {note.code: note.count for note in get_notes(adata)} == {"vdj.weak_chains": 2}


def test_two_contigs_of_one_chain_are_one_chain(tmp_path: Path) -> None:
    adata = read(
        tmp_path, [contig("A-1", "TRB", "AAA", 3), contig("A-1", "TRB", "AAA", 4), contig("A-1", "TRA", "CCC")]
    )
    assert adata.obs["chain_pairing"].tolist() == ["paired"]
    assert adata.obs["trb_umis"].tolist() == [7]


def test_strongest_chain_first_and_columns(tmp_path: Path) -> None:
    obs = read(
        tmp_path, [contig("A-1", "TRA", "AAA", 5), contig("A-1", "TRA", "TTT", 9), contig("B-1", "TRB", "C")]
    ).obs
    assert obs["tra_cdr3_nt"].tolist() == ["TTT", ""]
    assert obs["tra2_cdr3_nt"].tolist() == ["AAA", ""]
    assert obs["tra_umis"].tolist() == [9, 0]
    assert obs["tra_v_gene"].tolist() == ["TRAV1", ""]
    assert not obs.isna().any().any()


def test_dropped_contigs_are_counted_by_reason(tmp_path: Path) -> None:
    rows = [
        contig("A-1", "TRB", "AAA"),
        contig("A-1", "TRA", "CCC", productive="None"),
        contig("A-1", "TRA", "CCC", productive=False),
        contig("B-1", "TRA", "", cdr3=""),
        contig("C-1", "Multi", "CCC"),
        contig("D-1", "TRA", "CCC", is_cell=False),
        contig("E-1", "TRA", "CCC", high_confidence=False),
    ]
    adata = read(tmp_path, rows)
    reasons = {note.text.split(": ")[1]: note.count for note in get_notes(adata) if note.code == "vdj.dropped"}
    assert reasons == {
        "not productive": 2,
        "no nucleotide CDR3": 1,
        "chain of no known locus": 1,
        "barcode is not a cell": 1,
        "low confidence": 1,
    }
    assert adata.obs_names.tolist() == ["P1:A-1", "P1:B-1", "P1:C-1", "P1:E-1"]
    assert adata.obs["chain_pairing"].tolist() == ["orphan beta", "no chain", "no chain", "no chain"]
    adata.write_h5ad(tmp_path / "s.h5ad")


def test_order_of_contigs_does_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bases = list("ACGT")
    rows = [
        contig(f"C{rng.integers(40)}-1", rng.choice(["TRA", "TRB", "IGH"]), "".join(rng.choice(bases, 2)), int(umis))
        for umis in rng.integers(1, 9, 300)
    ]
    first = read(tmp_path, rows).obs
    again = read(tmp_path, [rows[n] for n in rng.permutation(len(rows))]).obs
    pd.testing.assert_frame_equal(first, again)


def test_airr_table(tmp_path: Path) -> None:
    path = tmp_path / "airr.tsv"
    path.write_text(
        "cell_id\tproductive\tv_call\tj_call\tjunction\tjunction_aa\tduplicate_count\n"
        "AAAC-1\tT\tTRAV1-2*01,TRAV1-2*02\tTRAJ33*01\ttgtgca\tCA\t4\n"
        "AAAC-1\tT\tTRBV2*01\tTRBJ1*01\tTGTAGC\tCS\t6\n"
    )
    obs = read_vdj(path, sample_id="P1").obs.iloc[0]
    assert obs["clonotype"] == "TRA:TGTGCA;TRB:TGTAGC"
    assert obs["tra_v_gene"] == "TRAV1-2"
    assert obs["trb_umis"] == 6


def test_without_umis_no_chain_is_called_weak(tmp_path: Path) -> None:
    path = tmp_path / "airr.tsv"
    path.write_text("cell_id\tproductive\tlocus\tjunction\nA-1\tT\tTRB\tAAA\nA-1\tT\tTRB\tCCC\n")
    assert read_vdj(path, sample_id="P1").obs["chain_pairing"].tolist() == ["multichain"]


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("gene,count\nCD3E,4\n")
    with pytest.raises(FileFormatError, match="no column barcode"):
        read_vdj(path, sample_id="P1")
    path.write_text("locus,productive,junction\nTRB,T,AAA\n")
    with pytest.raises(InputError, match="no cell column"):
        read_vdj(path, sample_id="P1")
    with pytest.raises(FileFormatError, match="'many' is not a number of umis"):
        read(tmp_path, [contig("A-1", "TRB", "AAA", umis="many", reads=1) | {"umis": "many"}])
    path.write_text("barcode,chain,productive,cdr3_nt\n")
    assert read_vdj(path, sample_id="P1").shape == (0, 0)


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="real data sets are absent")
@pytest.mark.parametrize(
    ("name", "contigs", "cells"),
    [("vdj_nextgem_hs_pbmc3_t", 4004, 1556), ("sc5p_v2_hs_melanoma_10k_b", 15_079, 5644)],
)
def test_published_fixtures(name: str, contigs: int, cells: int) -> None:
    path = DATA / "barcodes" / "scirpy" / f"{name}_filtered_contig_annotations.csv.gz"
    table = pd.read_csv(path)
    assert len(table) == contigs
    adata = read_vdj(path, sample_id="s")
    assert adata.n_obs == cells
    productive = table[table["productive"].astype(str).eq("True") & table["chain"].ne("Multi")]
    assert int(adata.obs["n_contigs"].sum()) == len(productive)
    vdj = productive[productive["chain"].isin(["TRB", "IGH"])].sort_values("umis").groupby("barcode").tail(1)
    locus = "trb" if "_t" in name[-2:] else "igh"
    ours = adata.obs[f"{locus}_umis"]
    assert ours[ours > 0].sort_index().tolist() == vdj.set_index("barcode")["umis"].sort_index().tolist()
    single = productive.groupby(["barcode", "chain"]).size().unstack(fill_value=0)
    if locus == "trb":
        paired = set("s:" + single.index[(single["TRA"] == 1) & (single["TRB"] == 1)])
        assert paired <= set(adata.obs_names[adata.obs["chain_pairing"] == "paired"])
        assert len(paired) > 1000
