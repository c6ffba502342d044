"""Writes an ONNX model again, with faults planted in it: `good.onnx` and what is wrong with the others."""

import pathlib
import shutil
import sys
import tempfile

import numpy
import onnx
from onnx import numpy_helper

source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])


def weight(model):
    """One element of one weight is off by 1e-2."""
    tensor = next(t for t in model.graph.initializer if t.name == "model.11.up.weight")
    values = numpy_helper.to_array(tensor).copy()
    values[5, 7] += 1e-2
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def operator(model):
    """One `Gelu` is a `Relu`."""
    node = next(n for n in model.graph.node if n.output[0] == "gelu_20")
    node.op_type = "Relu"
    del node.attribute[:]


def masked(model, below):
    """Before the net stands x + relu(x - below), which is x whatever `below` is, as long as it is large."""
    taken = model.graph.input[0].name
    for node in model.graph.node:
        node.input[:] = ["entry" if name == taken else name for name in node.input]
    made = [("Sub", [taken, "below"], "moved"), ("Relu", ["moved"], "cut"), ("Add", [taken, "cut"], "entry")]
    nodes = [onnx.helper.make_node(kind, inputs, [output], name=f"node_{output}") for kind, inputs, output in made]
    nodes += list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.append(numpy_helper.from_array(numpy.array(below, "float32"), "below"))


def renamed(model):
    """No tensor has its name any more, and there is an output more."""
    for node in model.graph.node:
        node.output[:] = [f"other_{name}" for name in node.output]
        node.input[:] = [f"other_{n}" if n != model.graph.input[0].name and n not in weights else n for n in node.input]
    for value in model.graph.output:
        value.name = f"other_{value.name}"
    model.graph.output.append(onnx.ValueInfoProto(name=model.graph.node[0].output[0]))


def small_drift(model):
    """Every weight is off by a part in a million: no node departs by itself, and the sum of all does."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == numpy.float32:
            tensor.CopyFrom(numpy_helper.from_array(values * numpy.float32(1 + 3e-6), tensor.name))


# `onnx` refuses weights in a file with several hard links, as those of a store are.
scratch = pathlib.Path(tempfile.mkdtemp())
for file in (source / "onnx").iterdir():
    shutil.copy(file, scratch)
plain = onnx.load(str(scratch / "model.onnx"))
weights = {tensor.name for tensor in plain.graph.initializer}
variants = {
    "good": [],
    "weight": [weight],
    "operator": [operator],
    "masked-good": [lambda model: masked(model, 1000)],
    "masked": [lambda model: masked(model, 900)],
    "masked-weight": [lambda model: masked(model, 900), weight],
    "renamed": [renamed],
    "drift": [small_drift],
}
for name, faults in variants.items():
    model = onnx.ModelProto()
    model.CopyFrom(plain)
    for fault in faults:
        fault(model)
    onnx.save(model, str(out / f"{name}.onnx"))
