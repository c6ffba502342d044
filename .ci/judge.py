"""Judges the JSON report of the main job: four cells measured on the CPU, right and with enough samples,
and a reason in every other one."""

import json
import sys


def main(path):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    rows = report["cells"]
    measured = [row for row in rows if row["state"] == "measured"]
    names = sorted(row["cell"] for row in measured)
    wanted = sorted(f"engine={e},place={p},device=cpu" for e in ("onnx", "torch") for p in ("container", "native"))
    assert names == wanted, f"measured {names}, wanted {wanted}"
    for row in rows:
        if row["state"] != "measured":
            assert row.get("reason"), f"no reason in {row}"
    for row in measured:
        metrics = row["metrics"]
        for name in ("time-to-first-token", "time-per-output-token", "tokens-per-second", "peak-resident"):
            value = metrics[name].get("median")
            assert value is not None and value > 0, f"{row['cell']}: {name} is {metrics[name]}"
        assert metrics["peak-resident"]["median"] < 6 * 2**30, f"{row['cell']} is over the budget"
        parity = row["parity"]
        assert parity["verdict"] == "pass", f"{row['cell']}: parity {parity}"
        assert parity["max_abs"] < 1e-3, f"{row['cell']}: parity {parity}"
        assert parity["top1"] == 1.0, f"{row['cell']}: parity {parity}"
    print(f"{len(measured)} cells measured and right, {len(rows) - len(measured)} with their reasons")


main(sys.argv[1])
