"""Antigen receptors of single cells: 10x contig annotations and AIRR rearrangement tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.errors import FileFormatError, InputError
from cellprec.io.delimited import Delimited, open_delimited
from cellprec.notes import add_note

if TYPE_CHECKING:
    from pathlib import Path

FAMILIES = {
    "TCR alpha-beta": (("TRA",), ("TRB",), "alpha", "beta"),
    "TCR gamma-delta": (("TRG",), ("TRD",), "gamma", "delta"),
    "BCR": (("IGK", "IGL"), ("IGH",), "light", "heavy"),
}
"""Receptor: its VJ loci (two productive chains are possible), its VDJ loci (one), and how the two are called."""

# A further chain of a cell is believed if it has at least this many UMIs and this share of the strongest one's:
# ambient transcripts of abundant clones put single UMIs into many droplets.
MIN_UMIS = 2
MIN_SHARE = 0.1

_FAMILY_OF = {locus: name for name, (vj, vdj, *_) in FAMILIES.items() for locus in vj + vdj}
_VDJ = {locus for _, vdj, *_ in FAMILIES.values() for locus in vdj}
_TRUE = {"true", "t", "1", "yes", "productive"}
_SOURCES = {
    "barcode": ("barcode", "cell_id"),
    "locus": ("chain", "locus"),
    "v_gene": ("v_gene", "v_call"),
    "j_gene": ("j_gene", "j_call"),
    "cdr3": ("cdr3", "junction_aa"),
    "cdr3_nt": ("cdr3_nt", "junction"),
    "umis": ("umis", "umi_count", "duplicate_count"),
    "reads": ("reads", "consensus_count"),
    "productive": ("productive",),
    "is_cell": ("is_cell",),
    "high_confidence": ("high_confidence",),
}
_NEEDED = ("barcode", "productive", "cdr3_nt")


def read_vdj(path: str | Path, *, sample_id: str) -> AnnData:
    r"""Read the T- or B-cell receptors of one single-cell sample, and name each cell's clonotype.

    Only productive contigs with a CDR3 count. Of each cell the strongest chain per locus is kept, and a second alpha
    (gamma, light) chain if it has at least 2 UMIs and a tenth of the strongest one's. A cell with two such beta
    (delta, heavy) chains, with three alpha chains, or with both a T- and a B-cell receptor is most likely two cells:
    ``multichain``, without a clonotype.

    Parameters
    ----------
    path
        Cell Ranger ``filtered_contig_annotations.csv`` or an AIRR rearrangement ``.tsv`` with ``cell_id``; gzipped or
        not.
    sample_id
        Name of the sample; cells are named ``sample_id:barcode``.

    Returns
    -------
    AnnData
        Cells × 0, one row per cell of the file. ``obs``: ``sample_id``, ``receptor``, ``chain_pairing`` (paired,
        extra alpha, orphan alpha, orphan beta, multichain, no chain; named light and heavy, gamma and delta where
        these are), ``clonotype`` (loci and nucleotide CDR3 as ``TRA:TGT…;TRB:TGT…``, empty where there is none),
        ``n_contigs`` (productive ones), and per locus ``tra_cdr3``, ``tra_cdr3_nt``, ``tra_v_gene``, ``tra_j_gene``,
        ``tra_umis``, with ``tra2_…`` for the second chain.

    Raises
    ------
    FileFormatError
        The table is damaged or lacks a column.
    InputError
        It has no cell column (a bulk repertoire).

    Notes
    -----
    The clonotype is exact: a cell in which one chain was missed has a shorter name than the rest of its clone, and
    B cells that mutated have different ones. Columns follow AIRR Rearrangement schema 1.4; chain rules follow
    Stubbington et al., Nat Methods 13:329 (2016): allelic inclusion is common for alpha and rare for beta chains.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "contigs.csv"
    >>> _ = path.write_text("barcode,chain,v_gene,j_gene,productive,cdr3,cdr3_nt,reads,umis\n"
    ...     "AAAC-1,TRA,TRAV1,TRAJ2,True,CAF,TGTGCATTC,90,3\nAAAC-1,TRB,TRBV1,TRBJ2,True,CSF,TGTAGCTTC,95,5\n")
    >>> read_vdj(path, sample_id="P01").obs[["chain_pairing", "clonotype"]].iloc[0].tolist()
    ['paired', 'TRA:TGTGCATTC;TRB:TGTAGCTTC']
    """
    table = open_delimited(path)
    contigs = _contigs(table)
    is_cell = contigs["is_cell"]
    cells = pd.Index(sorted(contigs.loc[is_cell, "barcode"].unique()), name=None)
    dropped = _judge(contigs)
    good = contigs[dropped == ""]
    chains, n_weak = _chains(good)
    obs = _summarize(cells, chains)
    obs["n_contigs"] = good.groupby("barcode").size().reindex(cells, fill_value=0).astype(np.int32)
    for name in ("receptor", "chain_pairing", "clonotype"):
        obs[name] = pd.Categorical(obs[name])
    obs = pd.concat([obs, _columns(cells, chains)], axis=1)
    obs[keys.SAMPLE_ID] = pd.Categorical([sample_id] * len(obs))
    obs.index = pd.Index([keys.cell_name(sample_id, barcode) for barcode in cells], dtype=str)
    adata = AnnData(obs=obs)
    for reason, count in dropped[dropped != ""].value_counts().sort_index().items():
        add_note(adata, "vdj.dropped", f"contigs dropped: {reason}", count=int(count), sample=sample_id)
    if n_weak:
        text = f"further chains of a cell dropped: fewer than {MIN_UMIS} UMIs or {MIN_SHARE:.0%} of the strongest"
        add_note(adata, "vdj.weak_chains", text, count=n_weak, sample=sample_id)
    doublets = int((obs["chain_pairing"] == "multichain").sum())
    if doublets:
        text = "cells with more chains than one cell has; likely doublets, no clonotype"
        add_note(adata, "vdj.multichain", text, count=doublets, sample=sample_id)
    return adata


def _contigs(table: Delimited) -> pd.DataFrame:
    lower = {name.lower(): name for name in table.header}
    found = {key: next((lower[c] for c in names if c in lower), None) for key, names in _SOURCES.items()}
    if found["barcode"] is None and found["cdr3_nt"] is not None:
        raise InputError(
            "the table has no cell column (barcode or cell_id)",
            where=table.path,
            why="Without cells it is a bulk repertoire; its chains cannot be paired.",
            fix="Give it as modality counts instead, or give the single-cell contig table.",
        )
    missing = [key for key in _NEEDED if found[key] is None]
    if missing:
        names = " or ".join(_SOURCES[missing[0]])
        raise FileFormatError(
            f"the table has no column {names}",
            where=table.path,
            why="This is neither a 10x contig annotation nor an AIRR rearrangement table.",
            fix="Give filtered_contig_annotations.csv or airr_rearrangement.tsv.",
        )
    columns = {key: name for key, name in found.items() if name is not None}
    frame = table.frame(list(columns.values())).set_axis(list(columns), axis=1)
    contigs = pd.DataFrame({key: frame.get(key, "") for key in _SOURCES}, index=frame.index).astype(str)
    contigs = contigs.mask(contigs.isin(["None", "NA", "nan"]), "")
    for key in ("v_gene", "j_gene"):
        # AIRR calls may list several alleles: TRAV1-2*01,TRAV1-2*02
        contigs[key] = contigs[key].str.split(",").str[0].str.replace(r"\*\d+$", "", regex=True)
    contigs["locus"] = contigs["locus"].where(contigs["locus"] != "", contigs["v_gene"].str[:3]).str.upper()
    contigs["cdr3_nt"] = contigs["cdr3_nt"].str.upper()
    contigs["productive"] = contigs["productive"].str.lower().isin(_TRUE)
    for key in ("is_cell", "high_confidence"):
        contigs[key] = contigs[key].str.lower().isin(_TRUE) | (found[key] is None)
    for key in ("umis", "reads"):
        contigs[key] = _whole(contigs[key], key, table) if found[key] is not None else 0
    contigs["counted"] = found["umis"] is not None
    return contigs


def _whole(texts: pd.Series, name: str, table: Delimited) -> pd.Series:
    numbers = pd.to_numeric(texts.where(texts != "", "0"), errors="coerce")
    wrong = numbers.isna() | (numbers < 0) | (numbers != numbers.round())
    if wrong.any():
        place = int(np.argmax(wrong))
        row = texts.index[place]
        raise FileFormatError(
            f"{texts.iloc[place]!r} is not a number of {name}",
            where=f"{table.path}, row {row}, column {name}",
            fix="Copy the table again from the program that wrote it.",
        )
    return numbers.astype(np.int64)


def _judge(contigs: pd.DataFrame) -> pd.Series:
    """Return for every contig why it does not count, or nothing."""
    reason = pd.Series("", index=contigs.index, dtype=object)
    checks = {
        "no nucleotide CDR3": contigs["cdr3_nt"] == "",
        "not productive": ~contigs["productive"],
        "chain of no known locus": ~contigs["locus"].isin(_FAMILY_OF),
        "low confidence": ~contigs["high_confidence"],
        "barcode is not a cell": ~contigs["is_cell"],
        "no barcode": contigs["barcode"] == "",
    }
    for text, applies in checks.items():  # the last one that applies is the one reported
        reason[applies] = text
    return reason


def _chains(good: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return one row per cell, locus and CDR3 that is believed, strongest first, and how many were not."""
    order = ["barcode", "umis", "reads", "locus", "cdr3_nt", "v_gene", "j_gene"]
    rising = [True, False, False, True, True, True, True]
    first = good.sort_values(order, ascending=rising).drop_duplicates(["barcode", "locus", "cdr3_nt"])
    sums = good.groupby(["barcode", "locus", "cdr3_nt"])[["umis", "reads"]].sum()
    chains = first.drop(columns=["umis", "reads"]).join(sums, on=["barcode", "locus", "cdr3_nt"])
    chains = chains.sort_values(order, ascending=rising)
    chains["family"] = chains["locus"].map(_FAMILY_OF).astype(str)
    chains["vdj"] = chains["locus"].isin(_VDJ)
    arm = chains.groupby(["barcode", "family", "vdj"])
    strongest = arm["umis"].transform("max")
    believed = (chains["umis"] >= MIN_UMIS) & (chains["umis"] >= MIN_SHARE * strongest)
    believed |= (arm.cumcount() == 0) | ~chains["counted"]
    return chains[believed].copy(), int((~believed).sum())


def _summarize(cells: pd.Index, chains: pd.DataFrame) -> pd.DataFrame:
    """Return receptor, chain pairing and clonotype of every cell, as text."""
    weight = chains.pivot_table(index="barcode", columns="family", values="umis", aggfunc="sum").reindex(
        index=cells, columns=list(FAMILIES)
    )
    has_any = weight.notna().any(axis=1)
    strongest = weight.fillna(-1).idxmax(axis=1).astype(str)
    main = strongest.where(has_any, "")  # the first family of FAMILIES where two are equal
    own = chains[chains["family"] == chains["barcode"].map(main)]
    n_heavy = own["vdj"].groupby(own["barcode"]).sum().reindex(cells, fill_value=0).astype(int)
    n_light = (~own["vdj"]).groupby(own["barcode"]).sum().reindex(cells, fill_value=0).astype(int)
    light = main.map({name: names[2] for name, names in FAMILIES.items()}).fillna("")
    heavy = main.map({name: names[3] for name, names in FAMILIES.items()}).fillna("")

    pairing = pd.Series("paired", index=cells, dtype=object)
    pairing = pairing.mask(n_light == 2, "extra " + light)
    pairing = pairing.mask(n_light == 0, "orphan " + heavy).mask(n_heavy == 0, "orphan " + light)
    pairing = pairing.mask((n_heavy > 1) | (n_light > 2) | _second_cell(weight.fillna(0), main), "multichain")
    pairing = pairing.mask(~has_any, "no chain")

    ordered = own.sort_values(["barcode", "locus", "cdr3_nt"])
    named = (ordered["locus"] + ":" + ordered["cdr3_nt"]).groupby(ordered["barcode"]).agg(";".join)
    clonotype = named.reindex(cells).fillna("").where(pairing != "multichain", "")
    return pd.DataFrame({"receptor": main, "chain_pairing": pairing, "clonotype": clonotype}, index=cells)


def _second_cell(weight: pd.DataFrame, main: pd.Series) -> pd.Series:
    """Say which T cells also have a believable B-cell receptor, and which B cells a T-cell receptor."""
    t_cell = weight[["TCR alpha-beta", "TCR gamma-delta"]].sum(axis=1)
    b_cell = weight["BCR"]
    other = b_cell.where(main != "BCR", t_cell)
    return (other >= MIN_UMIS) & (other >= MIN_SHARE * t_cell.where(main != "BCR", b_cell))


def _columns(cells: pd.Index, chains: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of each locus of every receptor family that the file holds."""
    held = set(chains["family"])
    columns: dict[str, object] = {}
    place = chains.groupby(["barcode", "locus"]).cumcount()
    for family, (vj, vdj, *_) in FAMILIES.items():
        if family not in held:
            continue
        for locus in vj + vdj:
            for rank in range(1 if locus in vdj else 2):
                own = chains[(chains["locus"] == locus) & (place == rank)].set_index("barcode").reindex(cells)
                prefix = locus.lower() + ("" if rank == 0 else "2")
                for name in ("cdr3", "cdr3_nt", "v_gene", "j_gene"):
                    columns[f"{prefix}_{name}"] = pd.Categorical(own[name].fillna("").astype(str))
                columns[f"{prefix}_umis"] = own["umis"].fillna(0).astype(np.int32).to_numpy()
    return pd.DataFrame(columns, index=cells)
