"""A Llama-shaped decoder with an explicit key/value cache, in the names of a Hugging Face checkpoint.

The module exists to be exported: everything that it remembers goes in and comes out as a tensor, so that
TorchScript and ONNX run the same computation. It knows nothing of seeds, files to write or engines.

Shapes, with S new tokens, P remembered ones, K key/value heads of width D and V words:

    input_ids                    int64    1 x S
    past_key_values.I.key/value  float32  1 x K x P x D     for each layer I
    logits                       float32  1 x S x V
    present.I.key/value          float32  1 x K x (P+S) x D
"""

import dataclasses
import json
import pathlib

import safetensors
import torch
from torch import nn
from torch.nn import functional


class CheckpointError(Exception):
    """The folder holds no checkpoint that this module can run; the message says why."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The part of a checkpoint's `config.json` that decides the computation."""

    vocabulary: int
    hidden: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_epsilon: float
    rope_theta: float
    tied: bool

    @classmethod
    def read(cls, folder):
        path = pathlib.Path(folder) / "config.json"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(f"`{path}` is missing: a model is a folder with `config.json` and safetensors")
        except ValueError as error:
            raise CheckpointError(f"`{path}` is not JSON: {error}")
        if raw.get("model_type", "llama") != "llama":
            raise CheckpointError(f"`{path}`: `model_type` is `{raw['model_type']}`, only `llama` is known")
        for name, allowed in [("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False)]:
            if raw.get(name, allowed) != allowed:
                raise CheckpointError(f"`{path}`: `{name}` is `{raw[name]}`, only `{allowed}` is known")
        # Newer checkpoints keep everything about the rotary embedding in `rope_parameters`.
        rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise CheckpointError(f"`{path}`: rotary embedding `{kind}` is not known, only the plain one is")
        try:
            heads = raw["num_attention_heads"]
            config = cls(
                vocabulary=raw["vocab_size"],
                hidden=raw["hidden_size"],
                feed_forward=raw["intermediate_size"],
                layers=raw["num_hidden_layers"],
                heads=heads,
                kv_heads=raw.get("num_key_value_heads") or heads,
                head_dim=raw.get("head_dim") or raw["hidden_size"] // heads,
                norm_epsilon=raw.get("rms_norm_eps", 1e-6),
                rope_theta=float(rope.get("rope_theta", raw.get("rope_theta", 10000.0))),
                tied=raw.get("tie_word_embeddings", False),
            )
        except KeyError as error:
            raise CheckpointError(f"`{path}` says nothing of `{error.args[0]}`")
        if config.heads % config.kv_heads != 0:
            raise CheckpointError(f"`{path}`: {config.heads} heads cannot share {config.kv_heads} key/value heads")
        return config


class RmsNorm(nn.Module):
    """Root-mean-square normalisation, in float32 or what is wider than that (Zhang and Sennrich, 2019)."""

    def __init__(self, width, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.epsilon = epsilon

    def forward(self, x):
        wide = x if x.dtype == torch.float64 else x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return self.weight * (wide * scale).to(x.dtype)


def rotate(x, cosine, sine):
    """Rotary embedding (Su et al., 2021) with the two halves of a head as the pairs, as Llama has it."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


class Attention(nn.Module):
    """Grouped-query attention (Ainslie et al., 2023)."""

    def __init__(self, config):
        super().__init__()
        self.kv_heads, self.head_dim = config.kv_heads, config.head_dim
        self.group = config.heads // config.kv_heads
        self.q_proj = nn.Linear(config.hidden, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden, config.kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.hidden, bias=False)

    def forward(self, x, cosine, sine, mask, past_key, past_value):
        length = x.shape[1]
        query = self.q_proj(x).view(1, length, self.kv_heads * self.group, self.head_dim).transpose(1, 2)
        key = self.k_proj(x).view(1, length, self.kv_heads, self.head_dim).transpose(1, 2)
        value = self.v_proj(x).view(1, length, self.kv_heads, self.head_dim).transpose(1, 2)
        key = torch.cat((past_key, rotate(key, cosine, sine)), dim=2)
        value = torch.cat((past_value, value), dim=2)
        # The heads of a group become further rows of one query, so that the cache is never copied for
        # each head that reads it.
        query = rotate(query, cosine, sine).reshape(1, self.kv_heads, self.group * length, self.head_dim)
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out = out.reshape(1, self.kv_heads * self.group, length, self.head_dim).transpose(1, 2)
        out = out.reshape(1, length, self.kv_heads * self.group * self.head_dim)
        return self.o_proj(out), key, value


class FeedForward(nn.Module):
    """SwiGLU (Shazeer, 2020)."""

    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.feed_forward, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.feed_forward, bias=False)
        self.down_proj = nn.Linear(config.feed_forward, config.hidden, bias=False)

    def forward(self, x):
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = RmsNorm(config.hidden, config.norm_epsilon)
        self.post_attention_layernorm = RmsNorm(config.hidden, config.norm_epsilon)

    def forward(self, x, cosine, sine, mask, past_key, past_value):
        change, key, value = self.self_attn(self.input_layernorm(x), cosine, sine, mask, past_key, past_value)
        x = x + change
        return x + self.mlp(self.post_attention_layernorm(x)), key, value


class Decoder(nn.Module):
    """What a checkpoint calls `model`: everything but the output words."""

    def __init__(self, config):
        super().__init__()
        self.group = config.heads // config.kv_heads
        self.embed_tokens = nn.Embedding(config.vocabulary, config.hidden)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = RmsNorm(config.hidden, config.norm_epsilon)
        self.register_buffer("frequencies", frequencies(config), persistent=False)

    def forward(self, input_ids, past):
        # Positions are counted, and not written with `arange`: a trace would keep the device that it was
        # made on for `arange`, while these follow their inputs to any device.
        fresh = torch.ones_like(input_ids[0]).cumsum(0)
        known = torch.ones_like(past[0][0, 0, :, 0], dtype=torch.int64).cumsum(0)
        positions = fresh + past[0].shape[2]
        mask = torch.cat((known, positions)).unsqueeze(0) <= positions.unsqueeze(1)
        mask = mask.repeat(self.group, 1)
        angles = (positions - 1).to(self.frequencies.dtype).unsqueeze(1) * self.frequencies
        x = self.embed_tokens(input_ids)
        cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        present = []
        for index, layer in enumerate(self.layers):
            x, key, value = layer(x, cosine, sine, mask, past[2 * index], past[2 * index + 1])
            present += [key, value]
        return self.norm(x), present


class Llama(nn.Module):
    """The whole model: token numbers and the cache in, logits and the longer cache out."""

    def __init__(self, config):
        super().__init__()
        self.model = Decoder(config)
        self.lm_head = None if config.tied else nn.Linear(config.hidden, config.vocabulary, bias=False)

    def forward(self, input_ids, *past):
        x, present = self.model(input_ids, past)
        words = self.model.embed_tokens.weight if self.lm_head is None else self.lm_head.weight
        return (functional.linear(x, words), *present)


def frequencies(config, dtype=torch.float32):
    """The angle of each pair of a head's numbers for one step of the position, twice: for both halves."""
    # In Python's own numbers: how torch takes powers depends on the processor.
    one_half = [config.rope_theta ** (-step / config.head_dim) for step in range(0, config.head_dim, 2)]
    return torch.tensor(one_half + one_half, dtype=dtype, device="cpu")


def weight_files(folder):
    """The safetensors files of a checkpoint: one, or those that its index names."""
    folder = pathlib.Path(folder)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError):
            raise CheckpointError(f"`{index}` is not an index of safetensors files")
    else:
        names = ["model.safetensors"]
    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(f"`{folder / name}` is missing")
    return [folder / name for name in names]


def load(folder):
    """Reads a checkpoint folder; 16-bit weights become float32. Returns the module and its `Config`."""
    config = Config.read(folder)
    with torch.device("meta"):
        model = Llama(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    weights = {}
    for path in weight_files(folder):
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                # A tied checkpoint may still hold `lm_head.weight`, and old ones hold the frequencies.
                weights.update((name, file.get_tensor(name).float()) for name in file.keys() if name in wanted)
        except safetensors.SafetensorError as error:
            raise CheckpointError(f"`{path}` is no safetensors file: {error}")
    for name, shape in wanted.items():
        if name not in weights:
            raise CheckpointError(f"`{folder}`: tensor `{name}` is missing")
        if tuple(weights[name].shape) != shape:
            found = tuple(weights[name].shape)
            raise CheckpointError(f"`{folder}`: tensor `{name}` is {found}, and `config.json` makes it {shape}")
    model.load_state_dict(weights, assign=True)
    model.model.frequencies = frequencies(config)
    return model.eval().requires_grad_(False), config


def names(config):
    """The names of the inputs and of the outputs, in the order of `forward`."""
    kinds = [(layer, kind) for layer in range(config.layers) for kind in ("key", "value")]
    inputs = ["input_ids"] + [f"past_key_values.{layer}.{kind}" for layer, kind in kinds]
    outputs = ["logits"] + [f"present.{layer}.{kind}" for layer, kind in kinds]
    return inputs, outputs


def convert(model, config, dtype):
    """Gives the weights another data type. Angles are made in float32 or what is wider: 16 bits would move them."""
    model = model.to(dtype)
    model.model.frequencies = frequencies(config, torch.float64 if dtype == torch.float64 else torch.float32)
    return model


def example(config, length, remembered, dtype=torch.float32):
    """Inputs of given lengths: fixed tokens, and a cache of small numbers that differ from each other."""
    tokens = (torch.arange(length) * 7919 + 13) % config.vocabulary
    shape = (1, config.kv_heads, remembered, config.head_dim)
    count = config.kv_heads * remembered * config.head_dim
    cache = [
        ((torch.arange(count) * (31 + 2 * index)) % 257 / 257 - 0.5).reshape(shape).to(dtype)
        for index in range(2 * config.layers)
    ]
    return (tokens.reshape(1, length), *cache)


def write_card(config, file, folder, dtype="fp32"):
    """Writes `pipe-model.json`, from which an engine knows what the model's file is."""
    card = {
        "format": 1,
        "file": file,
        "dtype": dtype,
        "kind": "llm",
        "layers": config.layers,
        "kv_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocabulary": config.vocabulary,
    }
    text = json.dumps(card, indent=2) + "\n"
    (pathlib.Path(folder) / "pipe-model.json").write_text(text, encoding="utf-8")
