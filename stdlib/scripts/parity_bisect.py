"""Finds the first node where an ONNX model departs from its reference, in a logarithmic number of probes.

A probe cuts the model in two and compares all that the first part hands to the second. Where all of it agrees, the
first part is in order, as far as the second can tell; where anything departs, the cause lies before the cut. So each
probe halves what is left, and at its end stands a tensor that departs while all that it is made of agrees: that holds
of the found node whatever errors do on their way. What is assumed is only that the cause has an effect on the outputs:
an error that is gone again by a cut (through `Relu`, `ArgMax`, a rounding) is not seen there. `--all` compares every
tensor, and misses none.

At the end the found node runs alone, on its inputs as the reference has them. Where its output then agrees, it was only
the one that took a drift over the bound, and is not said to be the cause.

Written are `bisect.json` and `bisect.txt`.
"""

import argparse
import json
import math
import pathlib
import sys
import zipfile

import numpy

import onnx_card
import onnx_cuts
import parity_reference
import random_inputs
import tensors

# Tensors that one probe of `--all` compares.
AT_ONCE = 64


class Compared:
    """How far two tensors are apart, and whether that is over the bound: `max-abs` + `max-rel` times the largest value
    of the reference; whole numbers and truth values must be equal."""

    def __init__(self, name, ours, theirs, max_abs, max_rel):
        self.name, self.why, self.apart, self.at, self.count = name, None, 0.0, None, 0
        self.dtype, self.shape = ours.dtype.name, list(ours.shape)
        exact = ours.dtype.kind in "biu" and theirs.dtype.kind in "biu"
        if ours.shape != theirs.shape:
            self.why = f"it has the shape {list(ours.shape)}, and in the reference {list(theirs.shape)}"
            self.apart = math.inf
            return
        if ours.size == 0:
            return
        a, b = ours.astype(numpy.float64), theirs.astype(numpy.float64)
        with numpy.errstate(invalid="ignore"):
            apart = numpy.where((a == b) | (numpy.isnan(a) & numpy.isnan(b)), 0.0, numpy.abs(a - b))
        apart[numpy.isnan(apart)] = math.inf
        finite = numpy.abs(b[numpy.isfinite(b)])
        self.bound = 0.0 if exact else max_abs + max_rel * (float(finite.max()) if finite.size else 0.0)
        worst = int(apart.argmax())
        self.at = [int(place) for place in numpy.unravel_index(worst, apart.shape)]
        self.apart, self.ours, self.theirs = float(apart.flat[worst]), ours.flat[worst].item(), theirs.flat[worst].item()
        self.count, self.size = int((apart > self.bound).sum()), int(apart.size)

    @property
    def departs(self):
        return self.why is not None or self.count > 0

    def document(self):
        if self.why:
            return {"tensor": self.name, "why": self.why}
        found = {"tensor": self.name, "dtype": self.dtype, "shape": self.shape}
        if self.at is not None:
            found |= {"at": self.at, "here": self.ours, "reference": self.theirs, "apart": self.apart}
            found |= {"bound": self.bound, "beyond": self.count, "of": self.size}
        return found


class Search:
    """The model, its reference, and the probes so far."""

    def __init__(self, graph, reference, feeds, bounds):
        self.graph, self.reference, self.feeds, self.bounds = graph, reference, feeds, bounds
        self.matched, outputs = reference.match(graph)
        if not outputs:
            raise onnx_cuts.CutError(
                "the model and its reference have no output in common: they must be two exports of the same model "
                f"(outputs here: {', '.join(f'`{name}`' for name in graph.outputs) or 'none'})"
            )
        self.skipped = [name for name in graph.outputs if name not in outputs and name in graph.dynamic]
        self.points = onnx_cuts.Points(graph, self.matched, outputs)
        self.probes = []

    def compare(self, names):
        """Runs both up to these tensors; gives what came out in their order, the reference's values, nodes that ran."""
        ours, ran = self.graph.run(names, self.feeds)
        theirs = self.reference.values([self.matched[name] for name in names], self.feeds)
        theirs = {name: theirs[self.matched[name]] for name in names}
        return [Compared(name, ours[name], theirs[name], *self.bounds) for name in names], theirs, ran

    def probe(self, cut, what=None):
        """Compares the frontier of a cut, notes it, and gives the first tensor that departs, if any does."""
        names = self.points.frontier(cut)
        compared, _, ran = self.compare(names)
        departs = next((one for one in compared if one.departs), None)
        self.note(what or f"after `{self.points.names[cut - 1]}`", cut, ran, compared, departs)
        return departs

    def note(self, what, cut, ran, compared, departs):
        worst = max(compared, key=lambda one: (one.departs, one.apart))
        self.probes.append({
            "cut": what, "point": cut, "of": len(self.points.names), "nodes": ran, "compared": len(compared),
            "worst": worst.apart if math.isfinite(worst.apart) else None, "departs": departs and departs.name,
        })

    def bisect(self):
        """The first point that departs while all that it is made of agrees; None where the outputs agree."""
        names = self.points.names
        departs = self.probe(len(names), "outputs")
        if departs is None:
            return None
        # The frontier of `low` agrees: before the first point there are the inputs, which are the same. That of `high`
        # does not.
        low, high = 0, self.points.index[departs.name] + 1
        while high - low > 1:
            departs = self.probe((low + high) // 2)
            if departs is None:
                low = (low + high) // 2
            else:
                # It is in the frontier of its own cut too, for what needs it comes later.
                high = self.points.index[departs.name] + 1
        return names[high - 1]

    def scan(self):
        """Every point that departs while all that it is made of agrees, by comparing all of them."""
        names, departing = self.points.names, set()
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            compared, _, ran = self.compare(some)
            found = [one for one in compared if one.departs]
            departing |= {one.name for one in found}
            what = f"all from `{some[0]}` to `{some[-1]}`"
            self.note(what, start + len(some), ran, compared, found[0] if found else None)
        return [name for name in names if name in departing and not departing & self.points.made_of[name]]

    def verify(self, name):
        """The point made alone, out of what the reference has for that which it is made of."""
        parts = sorted(self.points.made_of[name])
        asked = [self.matched[part] for part in [*parts, name]]
        theirs = self.reference.values(asked, self.feeds)
        given = {part: numpy.ascontiguousarray(theirs[self.matched[part]]) for part in parts}
        ours, _ = self.graph.run([name], self.feeds, given)
        return Compared(name, ours[name], theirs[self.matched[name]], *self.bounds)

    def finding(self, name):
        """All that is known of a point that departs."""
        compared, _, _ = self.compare([name])
        alone = self.verify(name)
        cone = self.points.cone(name)
        index, _ = self.graph.made_by[name]
        node = self.graph.nodes[index]
        found = {"node": node.name or name, "operator": node.op_type, "number": index + 1, "of": len(self.graph.nodes)}
        # What the model itself tells goes before what its reference tells.
        found |= self.reference.source(self.matched[name]) | parity_reference.origin(node)
        found |= {"worst": compared[0].document(), "alone": alone.document() | {"departs": alone.departs}}
        found["between"] = [onnx_cuts.label(self.graph.nodes[other]) for other in cone if other != index]
        found["causes"] = self.causes(name, [self.graph.nodes[other] for other in cone])
        return found

    def causes(self, name, cone):
        """What is written differently in the two: operators, attributes, weights."""
        told = []
        stop = {self.matched[part] for part in self.points.made_of if part != name}
        theirs = self.reference.nodes(self.matched[name], stop)
        if theirs is not None:
            here, there = ([node.op_type for node in nodes] for nodes in (cone, theirs))
            if here != there:
                told.append(f"the operator is {' > '.join(here)} here and {' > '.join(there)} in the reference")
            else:
                told += [line for pair in zip(cone, theirs) for line in other_attributes(*pair)]
        for weight in sorted({part for node in cone for part in onnx_cuts.uses(node)} & self.graph.weights.keys()):
            ours, reference = self.graph.weight(weight), self.reference.weight(weight)
            if reference is not None and ours.shape == reference.shape:
                one = Compared(weight, ours, reference, 0.0, 0.0)
                if one.departs:
                    told.append(
                        f"the weight `{weight}` has {one.count} of {one.size} elements that differ, the worst at "
                        f"{one.at}: {number(one.ours)} here, {number(one.theirs)} in the reference"
                    )
        return told


def other_attributes(ours, theirs):
    here, there = parity_reference.attributes(ours), parity_reference.attributes(theirs)
    for key in sorted(here.keys() | there.keys()):
        values = [part.get(key, "not set") for part in (here, there)]
        plain = [value.SerializeToString() if hasattr(value, "SerializeToString") else value for value in values]
        if plain[0] != plain[1]:
            shown = [value if isinstance(value, (int, float, str, list)) else "another value" for value in values]
            yield f"the attribute `{key}` of {onnx_cuts.label(ours)} is {shown[0]} here and {shown[1]} in the reference"


def number(value):
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def feeds(graph, arguments, example):
    """The inputs: from files, else the example's, else numbers from a seed."""
    found = {}
    if arguments.inputs.is_dir():
        for name in graph.inputs:
            path = arguments.inputs / tensors.file_of(name)
            try:
                found[name] = numpy.load(path, allow_pickle=False)
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or error
                raise onnx_cuts.CutError(f"the input `{name}` cannot be read from its file `{path.name}`: {why}")
        return found
    if example is not None:
        return {name: tensor.numpy() for name, tensor in zip(graph.inputs, example)}
    outlets = {name: onnx_card.with_shape(value) for name, value in graph.inputs.items()}
    given = random_inputs.sizes(arguments.dims, outlets.values())
    for name, outlet in outlets.items():
        dims = random_inputs.shape(outlet, arguments.batch, given)
        below = arguments.integers_below
        found[name] = random_inputs.values(arguments.seed, name, outlet["dtype"], math.prod(dims), below).reshape(dims)
    return found


def table(search):
    rows = [("probe", "cut", "nodes run", "compared", "worst", "verdict")]
    for index, probe in enumerate(search.probes, 1):
        worst = "shape" if probe["worst"] is None else f"{probe['worst']:.1e}"
        verdict = f"departs at `{probe['departs']}`" if probe["departs"] else "agrees"
        rows.append((str(index), probe["cut"], str(probe["nodes"]), str(probe["compared"]), worst, verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    right = (0, 2, 3, 4)
    lines = []
    for row in rows:
        cells = [cell.rjust(width) if i in right else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    return lines


def conclusion(search, findings, scanned, max_abs, max_rel):
    """The words below the table."""
    points, nodes = len(search.points.names), len(search.graph.nodes)
    bound = f"{max_abs:g} + {max_rel:g} x the largest value of a tensor"
    lines = [f"model      {nodes} nodes, {points} of their tensors compared"]
    lines += [f"reference  {search.reference.about}", f"bound      {bound}; whole numbers must be equal"]
    if search.skipped:
        lines.append(f"not seen   outputs that the reference does not have: {', '.join(search.skipped)}")
    if not findings:
        lines.append("")
        lines.append("no node departs" + (": every tensor agrees" if scanned else ": the outputs agree"))
        if not scanned:
            lines.append("an error that is gone again before the outputs is not looked for; `--all` compares every tensor")
    for finding in findings:
        lines += ["", *told(finding)]
    if findings and not scanned:
        lines += ["", "What the found node is made of agrees, and its own output does not. An earlier node may depart as well"]
        lines += ["where its error is gone again before a cut; `--all` compares every tensor and names each such node."]
    return lines


def told(finding):
    verified = finding["alone"]["departs"]
    what = f"{finding['node']} ({finding['operator']}), node {finding['number']} of {finding['of']}"
    if verified:
        lines = [f"departs at {what}"]
    else:
        lines = [f"drifts over the bound at {what}: no single node is the cause, or the bound is too tight"]
    lines += [f"  {key:<9}{finding[key]}" for key in ("module", "source") if finding.get(key)]
    worst = finding["worst"]
    if "why" in worst:
        lines.append(f"  {'tensor':<9}`{worst['tensor']}`: {worst['why']}")
    else:
        shape = "x".join(str(size) for size in worst["shape"]) or "scalar"
        lines.append(f"  {'tensor':<9}`{worst['tensor']}`, {worst['dtype']} {shape}; {worst['beyond']} of {worst['of']} beyond the bound")
        here, there = number(worst["here"]), number(worst["reference"])
        lines.append(f"  {'worst':<9}at {worst['at']}: {here} here, {there} in the reference, {worst['apart']:.2e} apart")
    if finding["between"]:
        inner = finding["between"]
        more = f" and {len(inner) - 5} more" if len(inner) > 5 else ""
        lines.append(f"  {'or in':<9}{', '.join(inner[:5])}{more}: what these make, the reference does not have")
    lines += [f"  {'because':<9}{cause}" for cause in finding["causes"]]
    alone = "it departs as well" if verified else "it agrees"
    lines.append(f"  {'alone':<9}on its inputs as the reference has them {alone}")
    return lines


def reference_of(arguments):
    """The reference, and the example inputs that come with it."""
    if arguments.script is not None:
        import python_model

        model, example = python_model.load(arguments.script, arguments.function)
        program = parity_reference.exported_again(python_model.Flat(model).eval(), example)
        about = f"`{arguments.script.name}:{arguments.function}` in torch"
        return parity_reference.TorchReference(program, about), example
    if zipfile.is_zipfile(arguments.reference):
        import torch

        try:
            program = torch.export.load(arguments.reference)
        except Exception as error:
            raise onnx_cuts.CutError(f"the reference is no program that torch.export saved: {error}")
        program = parity_reference.exported_again(program)
        return parity_reference.TorchReference(program, "a program of torch.export, in torch"), None
    return parity_reference.OnnxReference(arguments.reference), None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="an ONNX file, or a folder with one")
    parser.add_argument("--reference", type=pathlib.Path, help="an ONNX file or folder, or a .pt2 of torch.export")
    parser.add_argument("--script", type=pathlib.Path, help="a Python file whose function makes the reference")
    parser.add_argument("--function", default="make")
    parser.add_argument("--inputs", default="inputs", type=pathlib.Path, help="a folder with a .npy file for each input; used where it is there")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dims", default="")
    parser.add_argument("--integers-below", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-abs", type=float, default=1e-6)
    parser.add_argument("--max-rel", type=float, default=1e-4)
    parser.add_argument("--all", default="false", choices=("true", "false"))
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    if (arguments.reference is None) == (arguments.script is None):
        sys.exit("parity_bisect: give either a reference or a script whose function makes one")
    if not (0 <= arguments.max_abs < math.inf and 0 <= arguments.max_rel < math.inf):
        sys.exit("parity_bisect: a bound is 0 or more")

    graph = onnx_cuts.Graph(arguments.model, "the model")
    reference, example = reference_of(arguments)
    search = Search(graph, reference, feeds(graph, arguments, example), (arguments.max_abs, arguments.max_rel))
    scanned = arguments.all == "true"
    names = search.scan() if scanned else [name for name in [search.bisect()] if name is not None]
    findings = [search.finding(name) for name in names]
    verdict = "agrees" if not findings else "departs" if any(one["alone"]["departs"] for one in findings) else "drifts"
    bounds = {"max-abs": arguments.max_abs, "max-rel": arguments.max_rel}
    document = {"format": "pipe-parity-bisect", "version": 1, "verdict": verdict, "reference": reference.about}
    document |= {"nodes": len(graph.nodes), "points": len(search.points.names), "bounds": bounds}
    document |= {"probes": search.probes, "findings": findings}
    text = [*table(search), "", *conclusion(search, findings, scanned, arguments.max_abs, arguments.max_rel)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "bisect.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "bisect.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    try:
        main()
    except (onnx_cuts.CutError, tensors.Odd, OSError) as error:
        sys.exit(f"parity_bisect: {error}")
