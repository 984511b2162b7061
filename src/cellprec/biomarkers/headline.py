"""The honest answer about one outcome, in one sentence or three."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cellprec.biomarkers.associate import ASSOCIATED, CANNOT_TELL, CONFOUNDED
from cellprec.biomarkers.predict import BETTER, BOTH, CLINICAL, FEATURES, NO_GAIN, WITHIN

if TYPE_CHECKING:
    import pandas as pd

    from cellprec.biomarkers.predict import Prediction

_NAMED: Final = 3
_MODELS: Final = {FEATURES: "the features", BOTH: "the features and the clinical covariates together"}


def headline(associations: pd.DataFrame, prediction: Prediction | None, *, name: str) -> str:
    """Say in plain words what the features tell about the outcome, and what they do not.

    ``associations`` is the table of ``associate``, ``prediction`` what ``predict`` gave, ``name`` the outcome.

    >>> import pandas as pd
    >>> row = {"feature": "f", "n": 10, "n_positive": 2, "p": float("nan"), "verdict": "cannot tell: too few"}
    >>> headline(pd.DataFrame([row]), None, name="severe_icans")
    'Whether any feature goes along with severe icans in these 10 patients (2 with it) cannot be told: too few.'
    """
    said = name.replace("_", " ")
    sentences = [_association(associations, said=said, who=_who(associations, prediction))]
    followers = associations.loc[associations["verdict"] == CONFOUNDED, "feature"].tolist()
    if followers:
        looks = "look associated but follow" if len(followers) > 1 else "looks associated but follows"
        sentences.append(f"{_listed([_readable(name) for name in followers])} {looks} the batch.")
    if prediction is not None:
        sentences.append(_foretold(prediction.table, said=said))
    return " ".join(sentences)


def _who(associations: pd.DataFrame, prediction: Prediction | None) -> str:
    if prediction is not None and len(prediction.table):
        n, events = prediction.table["n"].max(), prediction.table["n_events"].max()
    elif len(associations):
        n, events = associations["n"].max(), associations["n_positive"].max()
    else:
        return "these patients"
    return f"these {n:.0f} patients ({events:.0f} with it)"


def _association(table: pd.DataFrame, *, said: str, who: str) -> str:
    tested = int(table["p"].notna().sum())
    if not tested:
        reasons = table["verdict"].str.removeprefix(f"{CANNOT_TELL}: ")
        why = reasons.mode().iloc[0] if len(reasons) else "no feature was measured"
        return f"Whether any feature goes along with {said} in {who} cannot be told: {why}."
    found = table[table["verdict"] == ASSOCIATED]
    if found.empty:
        return f"No feature goes along with {said} in {who}: none of {tested} tested passes a 5 % false discovery rate."
    top = found.iloc[0]
    first = (
        f"{_readable(str(top['feature']))} goes along with {said} in {who}: {_direction(top)}, "
        f"AUC {top['effect']:.2f} ({top['low']:.2f}–{top['high']:.2f}), q = {top['q']:.2g}"
    )
    others = found.iloc[1:]
    if others.empty:
        return f"{first}; the only one of {tested} tested."
    more = f"{first}. So {'do' if len(others) > 1 else 'does'} {len(others)} of the other {tested - 1} features tested"
    if len(others) > _NAMED:
        return f"{more}."
    ways: dict[str, list[str]] = {}
    for _, row in others.iterrows():
        ways.setdefault(_direction(row), []).append(_readable(str(row["feature"])))
    return f"{more}, {'; '.join(f'{way}: {_listed(names)}' for way, names in ways.items())}."


def _direction(row: pd.Series) -> str:
    return f"{'higher' if row['effect'] > 0.5 else 'lower'} with it"


def _readable(feature: str) -> str:
    """Return what was measured, and in brackets where and when, of ``modality:family:name@timepoint``."""
    modality, _, rest = feature.partition(":")
    family, _, named = rest.partition(":")
    if not named:
        return feature
    what, _, when = named.rpartition("@") if "@" in named else (named, "", "")
    # of a table, its file is what the reader knows it by
    about = [part for part in (modality if modality != "table" else "", family, when) if part]
    return f"{what} ({', '.join(about)})"


def _listed(names: list[str]) -> str:
    if len(names) > _NAMED:
        return f"{names[0]} and {len(names) - 1} more"
    return " and ".join(([", ".join(names[:-1])] if len(names) > 1 else []) + names[-1:])


def _foretold(table: pd.DataFrame, *, said: str) -> str:
    models = table[(table["model"] != CLINICAL) & table["auc"].notna()]
    if models.empty:
        reason = table["verdict"].str.removeprefix(f"{CANNOT_TELL}: ").iloc[-1]
        return f"Whether {said} can be foretold in new patients cannot be told: {reason}."
    best = models.sort_values("p_permutation", kind="stable").iloc[0]
    verdict, model = str(best["verdict"]), _MODELS.get(str(best["model"]), str(best["model"]))
    numbers = f"AUC {best['auc']:.2f} ({best['low']:.2f}–{best['high']:.2f}), p = {best['p_permutation']:.2g}"
    clinic = table.loc[table["model"] == CLINICAL, "auc"].dropna()
    beaten = "chance and the batch explain" if WITHIN in verdict else "chance"
    if not verdict.startswith(BETTER):
        beside = f"; the clinical covariates alone: AUC {clinic.iloc[0]:.2f}" if len(clinic) else ""
        return f"No model foretells it better than {beaten} in patients it has not seen ({model}: {numbers}{beside})."
    told = f"In patients it has not seen, a model of {model} foretells it better than {beaten}: {numbers}."
    if clinic.empty:
        return told
    shown = "It is not shown to be" if verdict.endswith(NO_GAIN) else "It is"
    return f"{told} {shown} better than the clinical covariates alone (AUC {clinic.iloc[0]:.2f})."
