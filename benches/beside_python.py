"""Holds an engine against Python on the same model file, with the same threads, in one run: A B A B.

Both stay alive and take turns, one sample at a time in an order that changes, so that whatever slows the machine slows
both. Printed is the ratio of their medians, engine over Python, with its 95 % interval (percentile bootstrap over rounds,
whose seed is fixed); below 1.03 the engine costs nothing that matters.

    python3 benches/beside_python.py --engine torch --program ENGINE/bin/pipe-engine-torch --model TRACE \
        --tokens TOKENS/tokens.npy --rounds 40
    python3 benches/beside_python.py --engine onnx --program ENGINE/bin/pipe-engine-onnx --model MODEL --inputs INPUTS

The folders are outputs that `pipe why` and `pipe store path` name; Python needs torch or onnxruntime of the same version
as the engine's (`PYTHONPATH`).
"""

import argparse
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time

import numpy

# As `bench-llm` has them.
PROMPT, NEW = 64, 32


class Engine:
    """The engine behind its protocol."""

    def __init__(self, asked):
        self.process = subprocess.Popen([asked.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        hello = json.loads(self.process.stdout.readline())
        if asked.tokens:
            work = {"kind": "llm", "tokens": asked.tokens, "prompt_tokens": PROMPT, "new_tokens": NEW}
        else:
            work = {"kind": "inference", "inputs": asked.inputs}
        prepare = {"ask": "prepare", "protocol": hello["protocol"], "device": asked.device, "dtype": asked.dtype}
        prepare |= {"threads": asked.threads, "model": asked.model, "workload": work}
        if asked.cuda_libraries:
            prepare["cuda_libraries"] = asked.cuda_libraries
        self.libraries = self.ask(**prepare)["libraries"]

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if answer["answer"] == "failed":
            sys.exit(f"beside_python: the engine says: {answer['message']}")
        return answer

    def sample(self):
        """The times of one sample in nanoseconds: of each token, or of the one pass."""
        sample = self.ask(ask="measure", samples=1, every=1)["samples"][0]
        return sample["decode_ns"] or [sample["prefill_ns"]]

    def end(self):
        self.ask(ask="finish")
        self.process.wait()


class Python:
    """What both libraries' own Python share: the passes of a sample, and the clock around each."""

    def __init__(self, asked):
        self.card = json.loads((pathlib.Path(asked.model) / "pipe-model.json").read_text(encoding="utf-8"))
        self.path = str(pathlib.Path(asked.model) / self.card["file"])
        self.tokens = numpy.load(asked.tokens)[: PROMPT + NEW] if asked.tokens else None
        self.fed = None if asked.tokens else self.bring_inputs(pathlib.Path(asked.inputs))
        self.open(asked)

    def bring_inputs(self, folder):
        names = [outlet["name"] for outlet in self.card["inputs"]]
        return {name: numpy.load(folder / f"{name}.npy") for name in names}

    def sample(self):
        if self.tokens is None:
            start = time.perf_counter_ns()
            self.infer()
            return [time.perf_counter_ns() - start]
        self.reset()
        self.forward(self.tokens[:PROMPT])
        times, before = [], time.perf_counter_ns()
        for index in range(PROMPT, PROMPT + NEW):
            self.forward(self.tokens[index : index + 1])
            now = time.perf_counter_ns()
            times.append(now - before)
            before = now
        return times

    def cache_shape(self):
        return (1, self.card["kv_heads"], 0, self.card["head_dim"])


class Torch(Python):
    def open(self, asked):
        import torch

        self.torch, self.device = torch, torch.device(asked.device)
        self.dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[asked.dtype]
        torch.set_num_threads(asked.threads)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        # As the engine has it, and why: a sample shall not depend on the shapes of those before it.
        torch._C._set_graph_executor_optimize(False)
        torch.set_grad_enabled(False)
        self.model = torch.jit.load(self.path, map_location=self.device).eval()
        if self.fed is not None:
            fed = (torch.from_numpy(array) for array in self.fed.values())
            self.fed = [(t.to(self.dtype) if t.dtype == torch.float32 else t).to(self.device) for t in fed]
        self.version = torch.__version__

    def wait(self):
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()

    def reset(self):
        shape = self.cache_shape()
        count = 2 * self.card["layers"]
        self.cache = [self.torch.zeros(shape, dtype=self.dtype, device=self.device) for _ in range(count)]
        self.wait()

    def forward(self, tokens):
        ids = self.torch.from_numpy(tokens).unsqueeze(0).to(self.device)
        _, *self.cache = self.model(ids, *self.cache)
        self.wait()

    def infer(self):
        self.model(*self.fed)
        self.wait()


class Onnx(Python):
    def open(self, asked):
        import onnxruntime

        self.library = onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = asked.threads, 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]
        bring = onnxruntime.OrtValue.ortvalue_from_numpy
        if self.fed is not None:
            self.fed = {name: bring(array) for name, array in self.fed.items()}
        self.version = onnxruntime.__version__

    def reset(self):
        empty = numpy.zeros(self.cache_shape(), dtype=numpy.float32)
        kinds = [(layer, kind) for layer in range(self.card["layers"]) for kind in ("key", "value")]
        bring = self.library.OrtValue.ortvalue_from_numpy
        self.cache = {f"past_key_values.{layer}.{kind}": bring(empty) for layer, kind in kinds}

    def forward(self, tokens):
        ids = self.library.OrtValue.ortvalue_from_numpy(tokens.reshape(1, -1))
        outputs = self.session.run_with_ort_values(self.names, {"input_ids": ids, **self.cache})
        self.cache = dict(zip(self.cache, outputs[1:]))

    def infer(self):
        self.session.run_with_ort_values(self.names, self.fed)


def interval(pairs):
    """The ratio of medians over the rounds, and its 95 % interval."""
    draw = random.Random(1)

    def ratio(of):
        ours, theirs = zip(*of)
        return statistics.median(ours) / statistics.median(theirs)

    drawn = sorted(ratio(draw.choices(pairs, k=len(pairs))) for _ in range(2000))
    return ratio(pairs), drawn[49], drawn[1949]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", required=True, choices=("torch", "onnx"))
    parser.add_argument("--program", required=True, help="the engine's program")
    parser.add_argument("--model", required=True, help="a folder with `pipe-model.json`")
    work = parser.add_mutually_exclusive_group(required=True)
    work.add_argument("--tokens", help="a token file: decoding is measured")
    work.add_argument("--inputs", help="a folder with a .npy file for each input: single inferences are measured")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="fp32", choices=("fp32", "fp16", "bf16"))
    parser.add_argument("--cuda-libraries", help="a folder with torch/lib/libtorch_cuda.so")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--name", default="", help="what the line is called")
    asked = parser.parse_args()

    engine, python = Engine(asked), {"torch": Torch, "onnx": Onnx}[asked.engine](asked)
    arms = [engine, python]
    for _ in range(3):
        [arm.sample() for arm in arms]
    order, pairs = random.Random(2), []
    for _ in range(asked.rounds):
        order.shuffle(arms)
        taken = {type(arm): statistics.median(arm.sample()) for arm in arms}
        pairs.append((taken[Engine], taken[type(python)]))
    engine.end()
    ratio, low, high = interval(pairs)
    ours, theirs = (statistics.median(side) / 1e6 for side in zip(*pairs))
    name = asked.name or f"{asked.engine} {asked.device} {asked.dtype}"
    verdict = "below 1.03" if high < 1.03 else "NOT below 1.03"
    print(
        f"{name:34} engine {ours:9.3f} ms   Python {theirs:9.3f} ms ({python.version})   "
        f"ratio {ratio:.3f} ({low:.3f} to {high:.3f}), {verdict}, {asked.rounds} rounds"
    )


if __name__ == "__main__":
    main()
