"""An ONNX graph in the order in which it runs, and cut-outs of it: what some of its tensors need, and no more, run by
ONNX Runtime on the CPU with its optimisations off, so that every node is computed as the file has it.

Knows no reference and no verdicts.
"""

import math
import os
import pathlib

import numpy
import onnx
import onnxruntime
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

# Weights from this size on are lent to ONNX Runtime, and not copied into each cut-out.
LARGE = 1024
LENT = ("float16", "float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


class CutError(Exception):
    """The file is no model that can be cut, with the reason and what to do."""


def find(path, what):
    """The ONNX file that a path means: itself, or the one in a folder."""
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.onnx"))
    named = [file for file in files if file.name == "model.onnx"]
    if len(named or files) != 1:
        raise CutError(f"{what} is a folder with {len(files)} files that end in .onnx; give one with `model.onnx`")
    return (named or files)[0]


def uses(node):
    """The tensors that a node reads, also from inside the graphs that it holds (`If`, `Loop`)."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        held = [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else list(attribute.graphs)
        for graph in held:
            own = {name for inner in graph.node for name in inner.output}
            own |= {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
            read = [name for inner in graph.node for name in uses(inner)] + [value.name for value in graph.output]
            names += [name for name in read if name not in own]
    return names


class Graph:
    """A model's nodes, weights, inputs and outputs."""

    def __init__(self, path, what):
        self.what = what
        path = find(path, what)
        self.folder = path.parent
        try:
            self.model = onnx.load(str(path), load_external_data=False)
        except Exception as error:
            raise CutError(f"{what} is no ONNX file: {str(error).splitlines()[0] or type(error).__name__}")
        graph = self.model.graph
        if not graph.node:
            raise CutError(f"{what} is no ONNX file, or has no nodes")
        self.nodes = list(graph.node)
        self.uses = [uses(node) for node in self.nodes]
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.inputs = {value.name: value for value in graph.input if value.name not in self.weights}
        self.outputs = [value.name for value in graph.output]
        # By tensor: the node that makes it, and its place among that node's outputs.
        self.made_by = {}
        # Tensors that depend on the inputs; all others are the same in every run.
        self.dynamic = set(self.inputs)
        known = set(self.inputs) | set(self.weights) | {tensor.values.name for tensor in graph.sparse_initializer}
        for index, node in enumerate(self.nodes):
            for name in self.uses[index]:
                if name not in known:
                    raise CutError(f"{what}: the node {label(node)} reads `{name}` before anything makes it")
            depends = any(name in self.dynamic for name in self.uses[index])
            for place, name in enumerate(node.output):
                if name:
                    known.add(name)
                    self.made_by[name] = (index, place)
                    if depends:
                        self.dynamic.add(name)

    def weight(self, name):
        """A weight as an array, or None."""
        tensor = self.weights.get(name)
        if tensor is None or not uses_external_data(tensor):
            return None if tensor is None else onnx.numpy_helper.to_array(tensor)
        # `onnx` itself refuses files with several hard links, as those of a store are.
        info = ExternalDataInfo(tensor)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        file = pathlib.PurePath(info.location)
        if file.is_absolute() or ".." in file.parts:
            raise CutError(f"{self.what} keeps the weight `{name}` outside its folder, in `{info.location}`")
        size = math.prod(tensor.dims) * dtype.itemsize
        try:
            mapped = numpy.memmap(self.folder / file, numpy.uint8, "r", info.offset or 0, (size,)) if size else b""
        except (OSError, ValueError) as error:
            fix = "give the folder with both files" if isinstance(error, OSError) else "it is too short"
            raise CutError(f"{self.what} keeps the weight `{name}` in `{info.location}`, which cannot be read; {fix}")
        return numpy.frombuffer(mapped, dtype).reshape(tuple(tensor.dims))

    def behind(self, wanted, stop):
        """The nodes, in order, that make the `wanted` tensors out of the inputs, the weights and what is in `stop`."""
        needed, open_names = set(), list(wanted)
        while open_names:
            index, _ = self.made_by.get(open_names.pop(), (None, None))
            if index is not None and index not in needed:
                needed.add(index)
                open_names += [name for name in self.uses[index] if name not in stop]
        return sorted(needed)

    def run(self, wanted, feeds, given=None):
        """The `wanted` tensors, from the model's inputs and from tensors that are `given`; and how many nodes ran."""
        given = given or {}
        indices = self.behind(wanted, given)
        nodes = [self.nodes[index] for index in indices]
        read = {name for index in indices for name in self.uses[index]}
        inputs = [self.inputs[name] for name in self.inputs if name in read and name not in given]
        for name in sorted(given.keys() & read):
            kind = onnx.helper.np_dtype_to_tensor_dtype(given[name].dtype)
            inputs.append(onnx.helper.make_tensor_value_info(name, kind, given[name].shape))
        outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
        weights, lent = self.parts(read - given.keys())
        graph = onnx.helper.make_graph(nodes, "cut", inputs, outputs, weights)
        graph.sparse_initializer.extend(self.model.graph.sparse_initializer)
        cut = onnx.helper.make_model(graph, opset_imports=self.model.opset_import, functions=self.model.functions)
        cut.ir_version = self.model.ir_version
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        options.add_external_initializers(list(lent), list(lent.values()))
        try:
            session = onnxruntime.InferenceSession(cut.SerializeToString(), options, providers=["CPUExecutionProvider"])
            fed = {value.name: given[value.name] if value.name in given else feeds[value.name] for value in inputs}
            return dict(zip(wanted, session.run(list(wanted), fed))), len(nodes)
        except Exception as error:
            first, last = label(nodes[0]), label(nodes[-1])
            raise CutError(f"{self.what}: ONNX Runtime cannot run the nodes from {first} to {last}: {error}")

    def parts(self, names):
        """The weights among some names: those to put into a cut-out, and those to lend to it."""
        inside, lent = [], {}
        for name in sorted(names & self.weights.keys()):
            tensor = self.weights[name]
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            if dtype.name not in LENT or math.prod(tensor.dims) * dtype.itemsize < LARGE:
                whole = onnx.numpy_helper.from_array(self.weight(name), name) if uses_external_data(tensor) else tensor
                inside.append(whole)
                continue
            # The file that it names is never opened: the values are there.
            hollow = onnx.TensorProto(name=name, data_type=tensor.data_type, dims=tensor.dims)
            hollow.data_location = onnx.TensorProto.EXTERNAL
            hollow.external_data.add(key="location", value="lent")
            inside.append(hollow)
            lent[name] = onnxruntime.OrtValue.ortvalue_from_numpy(numpy.ascontiguousarray(self.weight(name)))
        return inside, lent


def label(node):
    """A node as a message names it."""
    return f"`{node.name or node.output[0]}` ({node.op_type})"


class Points:
    """The tensors at which a graph can be held against its reference, in the order in which they are made, seen as a
    graph of their own: each with those that it is made of, whatever lies between."""

    def __init__(self, graph, matched, outputs):
        """`matched` are tensors that the reference has too; `outputs` those of them in which the search begins."""
        self.graph, self.outputs = graph, set(outputs)
        # By tensor: the nearest matched ones that it depends on, itself where it is one.
        nearest = {name: frozenset() for name in graph.inputs}
        self.made_of = {}
        for index, node in enumerate(graph.nodes):
            parts = frozenset().union(*(nearest.get(name, frozenset()) for name in graph.uses[index]))
            for name in node.output:
                if name in matched and name in graph.dynamic:
                    self.made_of[name] = parts
                    nearest[name] = frozenset([name])
                elif name:
                    nearest[name] = parts
        leads, open_names = set(), [name for name in outputs if name in self.made_of]
        while open_names:
            name = open_names.pop()
            if name not in leads:
                leads.add(name)
                open_names += self.made_of[name]
        self.names = sorted(leads, key=lambda name: graph.made_by[name])
        self.index = {name: index for index, name in enumerate(self.names)}
        # Up to where a point is still needed: the last one that is made of it; for ever, if it is an output.
        self.last = [len(self.names) if name in self.outputs else index for index, name in enumerate(self.names)]
        for index, name in enumerate(self.names):
            for part in self.made_of[name]:
                self.last[self.index[part]] = max(self.last[self.index[part]], index)

    def frontier(self, cut):
        """Of the first `cut` points those that anything after them is made of: where all of these agree, whatever
        came before has no further effect."""
        return [name for index, name in enumerate(self.names[:cut]) if self.last[index] >= cut]

    def cone(self, name):
        """The nodes that make a point out of those that it is made of."""
        return self.graph.behind([name], self.made_of.keys() - {name})
