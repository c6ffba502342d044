"""Reads what an ONNX model takes and gives, and writes it as `pipe-model.json`. The model itself is not copied."""

import argparse
import pathlib
import sys

import onnx
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

import tensors


def outlet(value):
    """An input or output; dimensions without a number keep their name."""
    if not value.type.HasField("tensor_type"):
        kind = value.type.WhichOneof("value") or "nothing known"
        raise tensors.Odd(f"`{value.name}` is no tensor ({kind.removesuffix('_type')}), and only tensors can be measured")
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower() if dtype == object else dtype.name
    # Some exporters write -1 for what is free.
    fixed = [dim.HasField("dim_value") and dim.dim_value >= 0 for dim in tensor.shape.dim]
    dims = [dim.dim_value if is_fixed else dim.dim_param or None for dim, is_fixed in zip(tensor.shape.dim, fixed)]
    return tensors.outlet(value.name, dtype, dims)


def with_shape(value):
    """An input, which must say how many dimensions it has."""
    if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
        raise tensors.Odd(f"the input `{value.name}` has no shape; give it one with the exporter that made the model")
    return outlet(value)


def check_data(graph, data):
    """Ends the script where the model keeps tensors in other files than the one that is there."""
    kept = {ExternalDataInfo(tensor).location for tensor in graph.initializer if uses_external_data(tensor)}
    for location in sorted(kept):
        if location != data:
            sys.exit(
                f"onnx_card: the model keeps tensors in `{location}`, which lies beside it; name it by "
                f'`data=(file)"{location}" data-as="{location}"`'
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, type=pathlib.Path, help="an ONNX file")
    parser.add_argument("--data-as", help="the name under which its external data will lie beside it")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()

    try:
        graph = onnx.load(str(arguments.model), load_external_data=False).graph
    except Exception as error:
        sys.exit(f"onnx_card: `{arguments.model.name}` is no ONNX file: {error}")
    check_data(graph, arguments.data_as)
    # Old models list their weights among the inputs.
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [with_shape(value) for value in graph.input if value.name not in weights]
    outputs = [outlet(value) for value in graph.output]
    tensors.write_card(arguments.out, "model.onnx", inputs, outputs)


if __name__ == "__main__":
    try:
        main()
    except (tensors.Odd, OSError) as error:
        sys.exit(f"onnx_card: {error}")
