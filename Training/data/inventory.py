"""What a manifest holds: scans and patients by dataset, sequence and condition, with ages (PROTOCOL P-01 to P-03)."""

from __future__ import annotations

import pandas as pd


def inventory(table: pd.DataFrame) -> pd.DataFrame:
    """One row for each dataset, role, sequence and (where the manifest has that column) condition, then a total.

    Counts come from the table, never from a constant (C-04). Ages are of scans whose age is known.
    """
    keys = ["dataset", "role", "sequence", *(["condition"] if "condition" in table else [])]
    rows = [{**dict(zip(keys, values, strict=True)), **_count(part)} for values, part in table.groupby(keys)]
    total = {**dict.fromkeys(keys, ""), "dataset": "all", **_count(table)}
    return pd.DataFrame([*rows, total])


def as_markdown(table: pd.DataFrame) -> str:
    """The table as a GitHub markdown table."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _count(rows: pd.DataFrame) -> dict:
    ages = rows["age_years"].dropna()
    known = {"min": f"{ages.min():g}", "mean": f"{ages.mean():.1f}", "max": f"{ages.max():g}"} if len(ages) else {}
    return {
        "scans": len(rows),
        "patients": rows["patient"].nunique(),
        "age_known": len(ages),
        "youngest": known.get("min", ""),
        "mean_age": known.get("mean", ""),
        "oldest": known.get("max", ""),
    }
