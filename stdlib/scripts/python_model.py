"""Makes a model of a Python function: a trace for the torch engine, a file for the onnx engine, and its inputs.

The function takes nothing and returns a `torch.nn.Module` and example inputs: a tensor, or a tuple of them. Their
shapes are those that are measured. Written are `torch/` (`model.pt`), `onnx/` (`model.onnx`), each with its
`pipe-model.json`, and `inputs/` with a `.npy` file for each input.

With another data type than float32 the trace has its weights, inputs and outputs in it; files stay float32, and the
engine converts them. The ONNX file is always float32.
"""

import argparse
import contextlib
import importlib.util
import inspect
import io
import logging
import pathlib
import sys
import warnings

import torch

import exported
import tensors

OPSETS = range(18, 24)
DEFAULT_OPSET = 20

# How far the trace may be from the module, as a part of the value and beside it.
RELATIVE = {"fp32": 1e-3, "fp16": 2e-2, "bf16": 1e-1}
ABSOLUTE = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 1e-1}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def load(path, function):
    """Runs the user's file and calls its function; numbers that it draws come from a fixed seed."""
    sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    torch.manual_seed(0)
    spec.loader.exec_module(module)
    make = getattr(module, function, None)
    if not callable(make):
        sys.exit(f"python_model: `{path.name}` has no function `{function}`")
    made = make()
    fix = f"let it end with `return model, example` ({function} of `{path.name}`)"
    if not isinstance(made, tuple) or len(made) != 2 or not isinstance(made[0], torch.nn.Module):
        sys.exit(f"python_model: the function must return a torch.nn.Module and its example inputs; {fix}")
    model, example = made
    example = (example,) if isinstance(example, torch.Tensor) else example
    if not isinstance(example, (tuple, list)) or not example or not all(isinstance(t, torch.Tensor) for t in example):
        sys.exit(f"python_model: the example inputs must be a tensor or a tuple of tensors; {fix}")
    model = model.eval().requires_grad_(False)
    return model, tuple(tensor.detach().cpu().contiguous() for tensor in example)


def leaves(value, name="output"):
    """The tensors of what a module returns, each with a name, in order."""
    if isinstance(value, torch.Tensor):
        return [(name, value)]
    if hasattr(value, "items"):
        return [leaf for key, part in value.items() for leaf in leaves(part, str(key))]
    if isinstance(value, (tuple, list)):
        return [leaf for index, part in enumerate(value) for leaf in leaves(part, f"{name}_{index}")]
    if value is None:
        return []
    sys.exit(f"python_model: the model gives a {type(value).__name__}; only tensors can be compared")


class Flat(torch.nn.Module):
    """The module with its outputs as one tuple, however it nests them."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *inputs):
        return tuple(tensor for _, tensor in leaves(self.model(*inputs)))


def names(model, count):
    """The names of the first parameters of `forward`, for `*args` numbers."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [p.name for p in inspect.signature(model.forward).parameters.values() if p.kind in kinds]
    return [found[index] if index < len(found) else f"input_{index}" for index in range(count)]


def outlets(named):
    return [tensors.outlet(name, str(tensor.dtype).removeprefix("torch."), tensor.shape) for name, tensor in named]


def converted(tensor, dtype):
    """What is float32 takes the data type of the model; anything else is what the user made it."""
    return tensor.to(DTYPES[dtype]) if tensor.dtype == torch.float32 else tensor


def trace(model, example, expected, dtype, folder):
    path, saved = folder / "model.pt", folder / "model.pt.part"
    with warnings.catch_warnings():
        # What a trace does not follow is found by the comparison below; and that TorchScript is old is known.
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, example, check_trace=False), str(saved))
        exported.write_trace(saved, path)
        saved.unlink()
        written = torch.jit.load(str(path))(*example)
    for (name, wanted), found in zip(expected, written):
        if not torch.allclose(wanted, found, rtol=RELATIVE[dtype], atol=ABSOLUTE[dtype], equal_nan=True):
            sys.exit(f"python_model: the trace's `{name}` is not the module's; does the model draw random numbers?")


def export(model, example, inputs, outputs, opset, folder):
    """The exporter's program; what it prints is kept back and shown if it fails."""
    import onnx
    import onnx_ir

    noise = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(noise), contextlib.redirect_stderr(noise):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                example,
                dynamo=True,
                input_names=inputs,
                output_names=outputs,
                opset_version=opset,
                external_data=True,
                verbose=False,
            )
    except Exception as error:
        sys.stderr.write(noise.getvalue())
        sys.exit(f"python_model: the ONNX exporter failed at opset {opset}: {error}")
    exported.strip(program.model)
    path = folder / "model.onnx"
    onnx_ir.save(program.model, path, external_data="model.onnx.data", size_threshold_bytes=1024)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        sys.exit(f"python_model: the exporter wrote no valid ONNX file: {error}")
    graph = onnx.load(str(path), load_external_data=False).graph
    for what, found, wanted in [("inputs", graph.input, inputs), ("outputs", graph.output, outputs)]:
        if [value.name for value in found] != wanted:
            found = ", ".join(value.name for value in found)
            sys.exit(f"python_model: the ONNX file has the {what} {found}, the module {', '.join(wanted)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--script", required=True, type=pathlib.Path, help="a Python file")
    parser.add_argument("--function", required=True, help="a function of it")
    parser.add_argument("--opset", type=int, default=DEFAULT_OPSET, choices=OPSETS)
    parser.add_argument("--dtype", default="fp32", choices=DTYPES, help="of the trace's weights and arithmetic")
    parser.add_argument("--onnx", default="true", choices=("true", "false"), help="whether to export to ONNX")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()

    logging.disable(logging.WARNING)
    model, example = load(arguments.script, arguments.function)
    with torch.no_grad():
        given = leaves(model(*example))
        taken = list(zip(names(model, len(example)), example))
        flat = Flat(model).eval()
        tensors.write_card(arguments.out / "torch", "model.pt", outlets(taken), outlets(given), arguments.dtype)
        if arguments.onnx == "true":
            tensors.write_card(arguments.out / "onnx", "model.onnx", outlets(taken), outlets(given))
            inputs, outputs = [name for name, _ in taken], [name for name, _ in given]
            export(flat, example, inputs, outputs, arguments.opset, arguments.out / "onnx")
        # After the export: the module itself is converted.
        flat, narrow = flat.to(DTYPES[arguments.dtype]), [converted(tensor, arguments.dtype) for tensor in example]
        trace(flat, narrow, leaves(flat(*narrow)), arguments.dtype, arguments.out / "torch")
    for name, tensor in taken:
        tensors.save(arguments.out / "inputs", name, tensor.numpy())


if __name__ == "__main__":
    try:
        main()
    except (tensors.Odd, OSError) as error:
        sys.exit(f"python_model: {error}")
