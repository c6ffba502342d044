"""Makes a model of the architectures that the `onnx` package brings for its backend tests: `model.onnx` and its card.

In the package every weight is one number, repeated by a node (`ConstantOfShape`), and the answer is the same for every
picture: nothing that could go wrong would show. So first the model as it is must give what the package says, on ONNX
Runtime with its optimisations off; then its weights are drawn from a seed, by integer arithmetic, each in the range in
which the signal keeps its size (He et al., 2015), and lie in the file.
"""

import argparse
import json
import math
import pathlib
import sys

import numpy
import onnx
import onnxruntime
from onnx import numpy_helper

# As the package's own test has them.
RELATIVE, ABSOLUTE = 1e-3, 1e-7

# Numbers drawn at once.
BLOCK = 1 << 22


def check(model, expected):
    """Ends the script where the model as it is gives something else than the package says."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {}
    for taken in session.get_inputs():
        count = math.prod(taken.shape)
        # The picture of the package's own test.
        feeds[taken.name] = (numpy.arange(count).reshape(taken.shape) / count).astype(numpy.float32)
    (found,) = session.run(None, feeds)
    if found.shape != expected.shape or not numpy.allclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE):
        sys.exit(f"onnx_light: ONNX Runtime gives another output than the package says: {found.ravel()[:3]}…")


def draw(source, shape, middle, width):
    """Numbers spread evenly over `middle` ± `width`."""
    count = math.prod(shape)
    made = numpy.empty(count, numpy.float32)
    for start in range(0, count, BLOCK):
        words = source.random_raw(min(BLOCK, count - start)) >> numpy.uint64(40)
        # 24 bits, which a float32 holds; from -1 up to 1.
        even = words.astype(numpy.float32) / numpy.float32(1 << 23) - numpy.float32(1)
        made[start : start + BLOCK] = even * numpy.float32(width) + numpy.float32(middle)
    return made.reshape(shape)


class Weights:
    """What becomes of each `ConstantOfShape`, and of other weights."""

    def __init__(self, graph, seed):
        self.graph, self.seed = graph, seed
        self.shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.readers = {}
        for node in graph.node:
            for place, name in enumerate(node.input):
                self.readers.setdefault(name, []).append((node, place))

    def range(self, name, shape):
        """The middle and half-width of a weight's numbers, by what reads it."""
        node, place = self.readers[name][0]
        while node.op_type in ("Unsqueeze", "Reshape", "Transpose"):
            node, place = self.readers[node.output[0]][0]
        if node.op_type == "BatchNormalization":
            # A branch that is added to another one starts small, or the sum would grow with the depth.
            added = any(reader.op_type in ("Add", "Sum") for reader, _ in self.readers.get(node.output[0], []))
            scale = 0.25 if added else 1.0
            return {1: (scale, scale / 4), 2: (0, 0.1), 3: (0, 0.1), 4: (1, 0.25)}[place]
        if len(shape) > 1 and node.op_type in ("Conv", "Gemm", "MatMul"):
            fan_in = math.prod(shape[1:])
            return 0, math.sqrt(6 / fan_in)
        return (1, 0.25) if node.op_type == "Mul" else (0, 0.1)

    def fill(self):
        kept, made = [], []
        for node in self.graph.node:
            if node.op_type == "ConstantOfShape":
                made.append(self.drawn(node.output[0], tuple(int(size) for size in self.shapes[node.input[0]]), len(made)))
            else:
                kept.append(node)
        del self.graph.node[:]
        self.graph.node.extend(kept)
        # A few small weights are real ones, which fit to no others.
        for name, array in self.shapes.items():
            if array.dtype == numpy.float32 and array.size > 1 and name in self.readers:
                made.append(self.drawn(name, array.shape, len(made)))
        known = {tensor.name for tensor in made}
        read = {name for node in kept for name in node.input} - known
        still = [tensor for tensor in self.graph.initializer if tensor.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend([*still, *made])
        inputs = [value for value in self.graph.input if value.name not in known | self.shapes.keys()]
        del self.graph.input[:]
        self.graph.input.extend(inputs)

    def drawn(self, name, shape, number):
        source = numpy.random.PCG64([self.seed, number])
        return numpy_helper.from_array(draw(source, shape, *self.range(name, shape)), name)


def outlets(values):
    dims = [[dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values]
    return [{"name": value.name, "dtype": "float32", "shape": shape} for value, shape in zip(values, dims)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--light", required=True, type=pathlib.Path, help="onnx/backend/test/data/light of the package")
    parser.add_argument("--name", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()

    path = arguments.light / f"light_{arguments.name}.onnx"
    if not path.is_file():
        known = sorted(file.stem.removeprefix("light_") for file in arguments.light.glob("light_*.onnx"))
        sys.exit(f"onnx_light: the package has no model `{arguments.name}`; it has {', '.join(known)}")
    model = onnx.load(str(path))
    expected = onnx.load_tensor(str(path.with_name(f"{path.stem}_output_0.pb")))
    check(model, numpy_helper.to_array(expected))
    Weights(model.graph, arguments.seed).fill()
    # Since this version weights need not be inputs.
    model.ir_version = max(model.ir_version, 4)
    arguments.out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(arguments.out / "model.onnx"))
    card = {"format": 1, "file": "model.onnx", "dtype": "fp32", "kind": "tensors"}
    card |= {"inputs": outlets(model.graph.input), "outputs": outlets(model.graph.output)}
    (arguments.out / "pipe-model.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
