from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cellprec.notes import Note
from cellprec.report.build import SECTIONS, build_report


class Page(HTMLParser):
    """The page as a browser takes it apart: elements with their attributes, the text, the cells of tables."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag not in {"meta", "link", "img"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop() == tag, "the elements of the page are not nested well"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in {"script", "style"}:
            self.words.append(data)
        if self._open and self._open[-1] in {"td", "th"}:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def ids(self) -> list[str]:
        return [attributes["id"] for tag, attributes in self.elements if tag == "section"]


def page_of(case: Any) -> Page:
    return Page(build_report(case.run, case.study).read_text(encoding="utf-8"))


def test_sections_stand_in_their_order(built: Any) -> None:
    order = "alerts planted headline samples cytometry rna clones biomarkers methods settings notes record"
    assert Page(built[1]).ids() == order.split()


def test_table_cells_are_the_numbers_of_the_run(built: Any) -> None:
    case, text = built
    rows = Page(text).rows
    samples = case.run.tables["cytometry.samples"].sort_values("kept_fraction", kind="stable").head(20)
    for row in samples.itertuples():
        percent = f"{100 * row.kept_fraction:.1f} %"
        cells = [row.sample_id, f"{row.n_events:,}", f"{row.n_kept:,}", percent, f"{row.margin:,}", f"{row.doublet:,}"]
        assert cells in rows
    first = case.run.tables["biomarkers.associations"].iloc[0]
    cells = [first["feature"], "associated", "0.934", "0.804 to 0.999", "2.1e-04", "0.001", "2.1e-04", "0.500", "24"]
    assert cells in [row[:9] for row in rows]
    best = case.run.tables["clones.tests"].sort_values("p", kind="stable").iloc[0]
    found = [row for row in rows if best["clone"] in row and best["contrast"] in row]
    assert found
    assert found[0][3] == f"{best['log2fc']:.2f}"


def test_a_failed_sample_is_the_first_alert(built: Any) -> None:
    text = Page(built[1]).text
    alerts = text[
        text.index("What needs a look") : text.index("Found against planted", text.index("What needs a look"))
    ]
    assert alerts.index("Sample P02_baseline failed: the file ends before its data do") < 60
    assert "Where: fcs/P02_baseline.fcs" in alerts
    assert "What to do: Copy the file again from the cytometer." in alerts


def test_what_needs_a_look_is_said(built: Any) -> None:
    text = Page(built[1]).text
    for said in (
        "1 sample lost more than half of its events",
        "1 sample with fewer than 100 cells",
        "response goes with the batch",
        "10 of 12 responders were run in batch b2",
        "response: 1 feature confounded with the batch",
    ):
        assert said in text


def test_a_quiet_study_raises_no_alert(quick: None, case: Any) -> None:
    for stage, total in (("cytometry", "n_events"), ("rna", "n_cells")):
        table = case.run.tables[f"{stage}.samples"]
        table["n_kept"] = table[total]
    case.run.tables["cytometry.samples"]["margin"] = 0
    case.run.tables["biomarkers.confounding"]["p"] = 0.8
    case.run.tables["biomarkers.associations"]["verdict"] = "not significant"
    case.study.truth = None
    case.run.ran["steps"] = [s for s in case.run.ran["steps"] if s["status"] == "done"]
    case.study.design.samples.drop(1, inplace=True)
    samples = case.study.design.samples
    lost = samples[(samples["sample_id"] == "P02_baseline") & (samples["modality"] == "cytometry")].index
    samples.drop(lost, inplace=True)
    samples.loc[1] = {"sample_id": "P01_baseline", "modality": "rna", "patient_id": "P01", "timepoint": "baseline"}
    page = page_of(case)
    assert "Nothing: every sample was read" in page.text
    assert not [a for tag, a in page.elements if a.get("class") in {"error", "warning", "info"}]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t["clones.contrasts"].loc[3:3].__setitem__("n_enriched", 2), None),
        (lambda t: t.pop("rna.samples"), "No result for the stage “rna”"),
        (lambda t: t.pop("biomarkers.associations"), "No result for the stage “biomarkers”"),
        (lambda t: t["rna.car"].__setitem__("n_detected", 0), "The CAR transcript was not detected in any cell"),
        (lambda t: t["clones.samples"].__setitem__("coverage", 0.5), "12 samples seen to less than 90 %"),
        (
            lambda t: t["biomarkers.prediction"].__setitem__("verdict", "cannot tell: 5 events"),
            "No prediction of response",
        ),
    ],
)
def test_each_trouble_has_its_alert(quick: None, case: Any, change: Any, said: str | None) -> None:
    if said is None:
        case.run.tables["clones.contrasts"].loc[3, "n_enriched"] = 2
        said = "The negative control vehicle half vs half is not silent: 2 of 300 clones called"
    else:
        change(case.run.tables)
    assert said in page_of(case).text


def test_notes_that_put_a_result_in_doubt_are_raised(quick: None, case: Any) -> None:
    case.run.said += [Note("clones.pcr", f"PCR replicates agree poorly (r {r})", None, f"lib{r}") for r in (0.3, 0.4)]
    text = page_of(case).text
    assert "PCR replicates disagree (2 samples: lib0.3 and lib0.4)" in text
    assert "PCR replicates agree poorly (r 0.3). And 1 more of this kind, under Notes." in text


def test_found_and_planted_stand_side_by_side(built: Any) -> None:
    rows = Page(built[1]).rows
    cd8 = "cytometry:fraction:CD8 memory@baseline"
    assert ["response", cd8, "effect", "1", "0.934", "0.001", "associated", "yes"] in rows
    assert any(row[:4] == ["response", "cytometry:fraction:NK@baseline", "confounded decoy", "2"] for row in rows)
    assert ["ibrutinib vs vehicle", "6", "6", "6", "100.0 %", "100.0 %", "6", "0", "0.0 %"] in rows


def test_a_decoy_called_associated_is_told(quick: None, case: Any) -> None:
    table = case.run.tables["biomarkers.associations"]
    table.loc[table["feature"].str.contains("NK"), "verdict"] = "associated"
    page = page_of(case)
    assert "The planted NK @ baseline (cytometry fraction) was not judged as it was planted" in page.text
    assert any("NK" in "".join(row) and row[-1] == "no" for row in page.rows)


def test_names_out_of_files_stay_text(quick: None, case: Any) -> None:
    evil = "<script>alert(1)</script>"
    attribute = '"><img src=x onerror=alert(1)>'
    case.study.name = evil
    case.study.design.samples.loc[0, "sample_id"] = evil
    case.run.tables["cytometry.samples"].loc[0, "sample_id"] = attribute
    case.run.tables["cytometry.samples"].loc[0, "kept_fraction"] = 0.0
    case.run.tables["cytometry.populations"]["population"] = evil
    case.run.tables["biomarkers.headlines"].loc[0, "sentence"] = f"{evil} goes with response"
    cells = case.run.datas["cytometry"]
    cells.obs["population"] = cells.obs["population"].cat.rename_categories({"B": "</script>" + evil})
    path = build_report(case.run, case.study)
    text = path.read_text(encoding="utf-8")
    assert cells.obs["population"].cat.categories.str.contains("</script>").any()
    page = Page(text)
    assert evil in page.text, "the name itself is shown"
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert len(scripts) == 3 + 2, "three plots, plotly, and the few lines that draw them"
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_nothing_is_loaded_from_elsewhere(built: Any) -> None:
    page = Page(built[1])
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            if name in attributes:
                assert attributes[name].startswith(("data:", "#")), (tag, attributes[name][:80])
    css = built[1][built[1].index("<style>") : built[1].index("</style>")]
    assert "url(" not in css
    assert "@import" not in css
    assert "default-src 'none'" in built[1], "the browser is told to load nothing"


def test_plotly_is_there_once_and_only_where_needed(built: Any, case: Any, quick: None) -> None:
    assert built[1].count("plotly.js v") == 1
    case.run.datas.clear()
    assert "plotly.js v" not in build_report(case.run, case.study).read_text(encoding="utf-8")


def test_every_figure_says_what_is_seen(built: Any) -> None:
    page = Page(built[1])
    images = [a for tag, a in page.elements if tag == "img"]
    plots = [a for _, a in page.elements if a.get("class") == "plotly-plot"]
    assert len(images) >= 12
    assert len(plots) == 3
    words = [a["alt"] for a in images] + [a["aria-label"] for a in plots]
    assert all(len(alt) > 40 and re.search(r"\d", alt) for alt in words), "an alt text names numbers"
    assert len(set(words)) == len(words)
    assert "from 31.0 % (P02_day14)" in " ".join(words)


def test_figures_and_methods_are_files_too(built: Any) -> None:
    case, text = built
    names = re.findall(r"figures/([\w.-]+)\.svg", text)
    assert len(names) >= 12
    for name in names:
        assert (case.run.path / "figures" / f"{name}.svg").read_bytes().lstrip().startswith(b"<?xml")
        assert (case.run.path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    methods = (case.run.path / "methods.md").read_text()
    for used in (
        "40 clusters",
        "logicle",
        "2,000 variable genes",
        "scanpy 1.11.5",
        "seeded with 1",
        "Scrublet",
        "10.1186/",
    ):
        assert used in methods
    assert not list(case.run.path.rglob(".*")), "no temporary file is left"


def test_methods_say_only_what_ran(quick: None, case: Any) -> None:
    case.run.ran["steps"] = [s for s in case.run.ran["steps"] if s["step"] not in {"rna", "cells"}]
    build_report(case.run, case.study)
    methods = (case.run.path / "methods.md").read_text()
    assert "scVI" not in methods
    assert "Lopez" not in methods
    assert "Smyth" in methods


def test_notes_are_one_line_per_kind_and_all_in_a_file(built: Any) -> None:
    case, text = built
    rows = Page(text).rows
    said = "events at the edge of a detector's range were set aside"
    total = sum(note.count for note in case.run.said if note.code == "events.margin")
    assert ["events.margin", said, f"{total:,}", "24 samples"] in rows
    assert len(pd.read_csv(case.run.path / "tables" / "report.notes.csv")) == len(case.run.said)


def test_settings_say_what_was_changed(built: Any) -> None:
    rows = Page(built[1]).rows
    assert ["cytometry", "n_clusters", "40", "changed"] in rows
    assert ["events", "margins", "yes", "default"] in rows


def test_the_same_run_gives_the_same_bytes(case: Any) -> None:
    few = [item for item in SECTIONS if item[0] in {"cytometry", "methods"}]
    held = []
    for _ in range(2):
        build_report(case.run, case.study, sections=few)
        files = [path for path in sorted(case.run.path.rglob("*")) if path.is_file()]
        held.append({str(path.relative_to(case.run.path)): path.read_bytes() for path in files})
    first, again = held
    assert {"report.html", "methods.md", "figures/cytometry.umap.svg", "figures/cytometry.umap.png"} <= set(first)
    assert [name for name in first if first[name] != again[name]] == []
    assert set(first) == set(again)


def test_a_broken_section_becomes_an_alert_and_the_rest_stands(quick: None, case: Any) -> None:
    case.run.tables["rna.samples"] = pd.DataFrame({"wrong": [1]})
    case.run.datas["cytometry"].obsm["X_umap"] = np.full((1500, 2), np.nan)
    page = page_of(case)
    assert "The section “rna” could not be made" in page.text
    assert "rna" not in page.ids()
    assert {"cytometry", "clones", "biomarkers"} <= set(page.ids())
    assert "The figure cytometry" in page.text
    assert "could not be drawn" in page.text


def test_a_run_with_nothing_done_still_reports(quick: None, case: Any) -> None:
    case.run.tables.clear()
    case.run.datas.clear()
    case.run.said.clear()
    case.run.ran = {}
    text = page_of(case).text
    assert "24 rna files were never processed" in text
    assert "No result for the stage “cytometry”" in text


def test_a_report_that_cannot_be_written_leaves_the_old_one(
    quick: None, case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build_report(case.run, case.study, sections=SECTIONS[2:3])
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    case.study.name = "Other"
    with pytest.raises(OSError, match="disk full"):
        build_report(case.run, case.study, sections=SECTIONS[2:3])
    assert path.read_bytes() == before
    assert [p.name for p in Path(case.run.path).iterdir() if p.name.startswith(".")] == []
