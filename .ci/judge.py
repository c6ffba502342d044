"""Judges the JSON report of the main job: four cells measured on the CPU, right and with enough samples,
and a reason in every other one."""

import json
import sys


def main(path):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    rows = report["cells"]
    measured = [row for row in rows if row["state"] == "measured"]
    names = sorted(row["label"] for row in measured)
    wanted = sorted(f"{engine} {place} cpu" for engine in ("onnx", "torch") for place in ("container", "native"))
    assert names == wanted, f"measured {names}, wanted {wanted}"
    for row in rows:
        if row["state"] != "measured":
            assert row.get("reason"), f"no reason in {row}"
    for row in measured:
        metrics = row["metrics"]
        for name in ("time-to-first-token", "time-per-output-token", "tokens-per-second", "peak-resident"):
            value = metrics[name].get("median")
            assert value is not None and value > 0, f"{row['label']}: {name} is {metrics[name]}"
        assert metrics["peak-resident"]["median"] < 6 * 2**30, f"{row['label']} is over the budget"
        assert row["memory_budget"]["verdict"] == "within", f"{row['label']}: {row['memory_budget']}"
        parity = row["parity"]
        if row["label"] == "torch native cpu":
            assert parity["verdict"] == "reference", f"{row['label']}: parity {parity}"
            continue
        assert parity["verdict"] == "right", f"{row['label']}: parity {parity}"
        assert parity["max_abs"] < 1e-3, f"{row['label']}: parity {parity}"
        agree, of = parity["top1"]
        assert agree == of == parity["positions"], f"{row['label']}: parity {parity}"
    print(f"{len(measured)} cells measured and right, {len(rows) - len(measured)} with their reasons")


main(sys.argv[1])
