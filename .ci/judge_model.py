"""Judges the JSON report of a pipeline that `pipe init` wrote: every CPU cell measured and right, natively and in a
container, and a reason in every other one."""

import json
import sys


def main(path):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    measured = [cell for cell in report["cells"] if cell["state"] == "measured"]
    places = {(cell["cell"]["engine"], cell["cell"]["place"]) for cell in measured}
    engines = {engine for engine, _ in places}
    assert "onnx" in engines and len(places) == 2 * len(engines), f"measured {sorted(places)}"
    for cell in report["cells"]:
        if cell["state"] != "measured":
            assert cell.get("reason"), f"no reason in {cell['label']}"
            continue
        for name in ("latency", "items-per-second", "cold-start", "peak-resident"):
            value = cell["metrics"][name].get("median")
            assert value is not None and value > 0, f"{cell['label']}: {name} is {cell['metrics'][name]}"
        parity = cell["parity"]
        assert parity["verdict"] in ("reference", "right"), f"{cell['label']}: parity {parity}"
        assert cell["speed_ups"]["latency"]["verdict"] != "n/a", f"{cell['label']}: {cell['speed_ups']}"
    print(f"{len(measured)} cells measured and right, {len(report['cells']) - len(measured)} with their reasons")


main(sys.argv[1])
