"""From records to tables: a long frame, its summary with statistics, and one rendering as .md, .tex and .csv."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from fedecho import render
from fedecho.core import stats
from fedecho.core.checks import require
from fedecho.core.config import RunConfig
from fedecho.core.files import write_whole
from fedecho.core.records import Record, find
from fedecho.presets import CONTENDERS, DELAYS, REFERENCE, SETTINGS, TUNED, TUNING_TRIALS, Cell, Trial, at_edge

NOT_RUN, NOT_STATED, NOTHING = "not run", "not stated", "–"
BLOCK = ["setting", "delay"]
_PROVENANCE = ["hash", "commit", "dirty"]


def collect(cells: Sequence[Cell], folder: Path) -> pd.DataFrame:
    """Return one row per cell: method, setting, delay, seed, status, score (percent), straggler (percent, on the
    classes only slow clients own), rejected (uploads), seconds (wall clock), hash, commit, dirty; nan or none for
    what is missing."""
    places = [{"method": c.method, "setting": c.setting, "delay": c.delay, "seed": c.config.seed} for c in cells]
    rows = [place | _outcome(cell.config, folder) for place, cell in zip(places, cells, strict=True)]
    return pd.DataFrame(rows, columns=[*places[0], *_outcome(cells[0].config, folder)] if cells else None)


def collect_trials(trials: Sequence[Trial], folder: Path) -> pd.DataFrame:
    """Return one row per run of the tuning: method, all tuned fields (nan where it has none), seed, and the outcome."""
    paths = dict.fromkeys(path for trial in trials for path in trial.values)
    return pd.DataFrame([
        {"method": t.method, **{path: t.values.get(path, np.nan) for path in paths}, "seed": t.config.seed,
         **_outcome(t.config, folder)} for t in trials
    ])  # fmt: skip


def _outcome(config: RunConfig, folder: Path) -> dict[str, Any]:
    record = find(folder, config)
    if record is None:
        return {
            "status": NOT_RUN,
            "score": np.nan,
            "straggler": np.nan,
            "rejected": np.nan,
            "seconds": np.nan,
        } | dict.fromkeys(_PROVENANCE)
    return {
        "status": record.status,
        "score": percent(record.score),
        "straggler": percent(record.class_score(record.facts.get("straggler_classes", []))),
        "rejected": float(sum(row["rejected"] for row in record.rows)),
        "seconds": sum(record.seconds.values()),
        **_made_by(record),
    }


def _made_by(record: Record) -> dict[str, Any]:
    return {"hash": record.hash, "commit": record.provenance.get("commit"), "dirty": record.provenance.get("dirty")}


def percent(share: float | None) -> float:
    """Return a share in [0, 1] in percent; nan for none."""
    return np.nan if share is None else 100 * share


def record_set_hash(frame: pd.DataFrame) -> str:
    """Return 12 hex digits that name the records behind a frame: SHA-256 of their hashes with status and score."""
    made = frame[frame["hash"].notna()].drop_duplicates("hash").sort_values("hash")
    lines = [f"{row['hash']} {row['status']} {row['score']:.6f}" for row in made.to_dict("records")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def reported(path: Path) -> pd.DataFrame:
    """Read the paper's own numbers: setting, delay, method, value (percent), dataset, model, source, note."""
    require(path.is_file(), "reported", str(path), "no such file; it belongs to the repository, paper/reported/*.csv")
    return pd.read_csv(path)


def vision_summary(frame: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """Return `summarise` in the order of the presets, against the method that all others are compared with."""
    return summarise(_ordered(frame), REFERENCE, reported)


def summarise(
    frame: pd.DataFrame,
    reference: str,
    reported: pd.DataFrame | None = None,
    family: Literal["block", "table"] = "block",
) -> pd.DataFrame:
    """Return one row per setting, delay and method, in percent and points: mean and half width of the 95 % interval
    over the n finished seeds; difference = reference minus method, paired, with its p and Holm's p in its `family`."""
    blocks = [_block_summary(block, reference, reported) for _, block in frame.groupby(BLOCK, sort=False)]
    out = pd.concat(blocks, ignore_index=True)
    families = out.groupby(BLOCK, sort=False) if family == "block" else [((), out)]
    adjusted = pd.concat([holm(tests["p"]) for _, tests in families])
    out.insert(list(out.columns).index("p") + 1, "p_holm", adjusted)
    return out


def holm(p: pd.Series[float]) -> pd.Series[float]:
    """Return Holm's adjusted p-values of one family; nan stays nan and does not count."""
    return pd.Series(stats.holm([None if np.isnan(value) else value for value in p]), p.index, dtype=float)


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    """Sort by the order of the presets; what they do not name follows in its own order."""
    known = {"setting": SETTINGS, "delay": DELAYS, "method": CONTENDERS}

    def rank(column: pd.Series[Any]) -> pd.Series[Any]:
        names = list(dict.fromkeys([*known[str(column.name)], *column]))
        return column.map(names.index)

    return frame.sort_values([*BLOCK, "method"], key=rank, kind="stable")


def _block_summary(block: pd.DataFrame, reference: str, reported: pd.DataFrame | None) -> pd.DataFrame:
    """Summarise one setting and delay: one test per method other than the reference."""
    scores = _by_seed(block[block["method"] == reference])
    groups = block.groupby("method", sort=False)
    return pd.DataFrame([_method_summary(runs, {} if name == reference else scores, reported) for name, runs in groups])


def _by_seed(runs: pd.DataFrame, column: str = "score") -> dict[int, float]:
    """Return seed -> percent of the finished runs (only they have a score)."""
    finished = runs[runs[column].notna()]
    return dict(zip(finished["seed"].astype(int), finished[column].astype(float), strict=True))


def _method_summary(
    runs: pd.DataFrame, reference: Mapping[int, float], reported: pd.DataFrame | None
) -> dict[str, Any]:
    place = {name: str(runs[name].iloc[0]) for name in [*BLOCK, "method"]}
    scores = _by_seed(runs)
    mean, half, n = stats.mean_ci(list(scores.values()))
    straggler = stats.mean_ci(list(_by_seed(runs, "straggler").values()))
    gap, gap_half, p, pairs = stats.paired_difference(reference, scores)
    return place | {
        "mean": mean, "half": half, "n": n, "diverged": int((runs["status"] == "diverged").sum()), "runs": len(runs),
        "rejected": float(runs["rejected"].sum()), "difference": gap, "difference_half": gap_half,
        "p": np.nan if p is None else p, "pairs": pairs,
        "straggler_mean": straggler.mean, "straggler_half": straggler.half,
        "reported": np.nan if reported is None else _reported_for(place, reported),
    }  # fmt: skip


def _reported_for(place: Mapping[str, str], reported: pd.DataFrame) -> float:
    """Return the paper's number, nan without one; a number without a delay type stands beside every delay."""
    delay = reported["delay"].isin([place["delay"], NOT_STATED])
    found = reported.loc[delay & (reported["setting"] == place["setting"]) & (reported["method"] == place["method"])]
    return float(found["value"].iloc[0]) if len(found) else np.nan


def number(mean: float, half: float, sign: str = "") -> str:
    """Write `mean` and `half` to 2 decimals as `82.31 ± 0.85`, without the half width where there is none."""
    if np.isnan(mean):
        return NOTHING
    width = "" if np.isnan(half) else f" ± {half:.2f}"
    return f"{mean:{sign}.2f}{width}".replace("-", "−")


def p_text(p: float) -> str:
    """Write a p-value in [0, 1] to 3 decimals."""
    if np.isnan(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def vision_display(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the summary as texts to read, indexed by setting, delay and method."""
    texts = [{
        "setting": row["setting"], "delay": row["delay"], "method": row["method"],
        "accuracy, %": accuracy_text(row),
        "n": f"{row['n']} ({row['diverged']} diverged)" if row["diverged"] else str(row["n"]),
        f"{REFERENCE} − method": number(row["difference"], row["difference_half"], "+"),
        "p (Holm)": p_text(row["p_holm"]),
        "slow classes, %": number(row["straggler_mean"], row["straggler_half"]),
        "paper": NOT_STATED if np.isnan(row["reported"]) else f"{row['reported']:.2f}",
    } for row in summary.to_dict("records")]  # fmt: skip
    return pd.DataFrame(texts).set_index([*BLOCK, "method"])


def accuracy_text(row: Mapping[Any, Any]) -> str:
    """Write a row's mean and half width, or why it has none."""
    if row["n"]:
        return number(row["mean"], row["half"])
    return "diverged" if row["diverged"] else NOT_RUN


def vision_caption(frame: pd.DataFrame, profile: str) -> str:
    """Say what the numbers of the main table are and which records they come from."""
    return (
        f"Profile {profile}. Accuracy: test accuracy, mean of a run's last 5 evaluations; mean ± half width of the "
        "95 % confidence interval (Student t) over n seeds, no ± where n = 1. Bold: the highest mean of a block, among "
        "methods of which no run diverged. "
        f"{REFERENCE} − method: mean difference in points ± its 95 % interval, paired over the seeds both finished. "
        "p: two-sided paired t-test, Holm-corrected over the methods of a block. A run that diverged is left out of "
        "the mean and counted beside n; uploads that were not finite are rejected and counted in the .csv. "
        "Slow classes: accuracy on the classes that only slow clients own. Paper: as "
        "reported in arXiv 2511.19966 for CIFAR-10 and ResNet-18, known from a summary; it does not state the delay "
        f"type, so the number stands beside both, and {NOT_STATED} where it has none. {provenance_text(frame)}"
        + edges(profile)
        + f" {caveat(profile)}".rstrip()
    )


def caveat(profile: str) -> str:
    """Say what the numbers of a profile must not be taken for."""
    return "The smoke profile tests the plumbing; its numbers are not results." if profile.endswith("smoke") else ""


def edges(profile: str) -> str:
    """Own up to tuned values at the edge of their box."""
    found = at_edge(TUNED.get(profile, {}), TUNING_TRIALS["laptop"], profile)
    return f" Tuned at the edge of the searched box, so perhaps not at their best: {'; '.join(found)}." if found else ""


def compact_caption(frame: pd.DataFrame) -> str:
    """Say what the compact table shows."""
    note = " \\* = some seeds diverged and are left out." if (frame["status"] == "diverged").any() else ""
    return (
        "Test accuracy in %, mean ± half width of the 95 % confidence interval over the seeds; bold: the highest mean "
        f"of a column, among methods of which no run diverged.{note} {provenance_text(frame)}"
    )


def provenance_text(frame: pd.DataFrame) -> str:
    """Name the records behind a frame: how many, their set's hash, the commits that made them, and how many dirty."""
    made = frame[frame["hash"].notna()].drop_duplicates("hash")
    if made.empty:
        return "Records: none yet."
    commits = sorted({str(commit)[:7] if isinstance(commit, str) else "unknown" for commit in made["commit"]})
    dirty = sum(flag is True for flag in made["dirty"].astype(object))
    state = f", {dirty} of them with uncommitted changes" if dirty else ""
    return f"Records: {len(made)}, set {record_set_hash(frame)}, made by commit {', '.join(commits)}{state}."


def tuning_summary(trials: Sequence[Trial], folder: Path) -> pd.DataFrame:
    """Return one row per contender and trial, by value: the tuned fields, mean validation score (percent) over the n
    finished runs, diverged, runs, and `best`: the highest mean among the trials without a run that diverged.

    No trial is the best one before all runs of its contender exist; the first of equal trials is.
    """
    frame = collect_trials(trials, folder)
    paths = tuned_fields(frame)
    rows = [_trial_summary(runs, paths) for _, runs in frame.groupby(["method", *paths], sort=False, dropna=False)]
    out = pd.DataFrame(rows).sort_values(["method", *paths], key=_by_appearance, kind="stable", ignore_index=True)
    return out.assign(best=out.index.isin(_best_rows(out)))


def _trial_summary(runs: pd.DataFrame, paths: list[str]) -> dict[str, Any]:
    mean, _, n = stats.mean_ci(list(_by_seed(runs).values()))
    diverged = int((runs["status"] == "diverged").sum())
    return dict(runs[["method", *paths]].iloc[0]) | {"mean": mean, "n": n, "diverged": diverged, "runs": len(runs)}


def _by_appearance(column: pd.Series[Any]) -> pd.Series[Any]:
    return column.map(list(column.unique()).index) if column.name == "method" else column


def _best_rows(summary: pd.DataFrame) -> list[Any]:
    chosen = []
    for _, block in summary.groupby("method", sort=False):
        finished = block.loc[block["n"] == block["runs"], "mean"]
        if (block["n"] + block["diverged"] == block["runs"]).all() and len(finished):
            chosen.append(finished.idxmax())
    return chosen


def tuned_fields(frame: pd.DataFrame) -> list[str]:
    """Return the columns that are dotted fields of `RunConfig`."""
    return [str(column) for column in frame.columns if "." in str(column)]


def best_values(trials: Sequence[Trial], folder: Path) -> dict[str, dict[str, float]]:
    """Return contender -> dotted field -> value of its best trial; without one the contender is left out."""
    summary = tuning_summary(trials, folder)
    best, paths = summary[summary["best"]], tuned_fields(summary)
    return {
        str(row["method"]): {path: float(row[path]) for path in paths if not np.isnan(row[path])}
        for row in best.to_dict("records")
    }


def tuning_display(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the tuning as texts to read, indexed by method and values."""
    paths = tuned_fields(summary)
    texts = [{
        "method": row["method"],
        "values": ", ".join(f"{path.split('.', 1)[1]} {row[path]:g}" for path in paths if not np.isnan(row[path])),
        "validation accuracy, %": accuracy_text(row | {"half": np.nan}),
        "runs": f"{row['n']}/{row['runs']}" + (f" ({row['diverged']} diverged)" if row["diverged"] else ""),
        "chosen": "yes" if row["best"] else "",
    } for row in summary.to_dict("records")]  # fmt: skip
    return pd.DataFrame(texts).set_index(["method", "values"])


def tuning_caption(frame: pd.DataFrame, profile: str) -> str:
    """Say what the numbers of the tuning are and which records they come from."""
    return (
        f"Profile {profile}. Validation accuracy, mean of the last 5 evaluations and over the finished runs; every "
        "method had the same number of trials, on seeds that no table reports, without the test images. A trial with a "
        f"run that diverged is never chosen. {provenance_text(frame)}"
    )


def write_table(summary: pd.DataFrame, stem: Path, title: str, caption: str) -> None:
    """Write a summary of the main table to `stem`.md, .tex and .csv (all numbers), each block's best mean in bold."""
    render.write(vision_display(summary), best_of_block(summary), summary, stem, title, caption)


def best_of_block(summary: pd.DataFrame) -> list[bool]:
    """Tell which rows have the highest mean of their setting and delay, among methods of which no run diverged."""
    steady = summary["mean"].where(summary["diverged"] == 0)
    best = steady.groupby([summary[name] for name in BLOCK], sort=False).transform("max")
    return (steady == best).tolist()


def vision_compact(summary: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy (percent, mean ± half width) with a row per method and a column per setting and delay."""
    texts = [accuracy_text(row) + "*" * bool(row["n"] and row["diverged"]) for row in summary.to_dict("records")]
    cells = [f"**{text}**" if best else text for text, best in zip(texts, best_of_block(summary), strict=True)]
    columns = [f"{setting}, {delay}" for setting, delay in zip(summary["setting"], summary["delay"], strict=True)]
    long = pd.DataFrame({"method": summary["method"], "column": columns, "cell": cells})
    wide = long.pivot(index="method", columns="column", values="cell")
    return wide.loc[list(dict.fromkeys(long["method"])), list(dict.fromkeys(columns))]


def write_compact(summary: pd.DataFrame, path: Path, caption: str) -> None:
    """Write the compact table, as the README shows it, to a Markdown file."""
    wide = vision_compact(summary).reset_index()
    write_whole(path, f"{render.markdown_rows(wide)}\n\n{caption}\n")


def write_tuning(summary: pd.DataFrame, stem: Path, title: str, caption: str) -> None:
    """Write a summary of the tuning to `stem`.md, .tex and .csv, the chosen trials in bold."""
    render.write(tuning_display(summary), summary["best"].tolist(), summary, stem, title, caption)
