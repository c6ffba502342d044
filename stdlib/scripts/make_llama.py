"""Makes a Llama checkpoint with weights from a seed: `config.json` and `model.safetensors`, float32.

The weights come from integer arithmetic alone: a counter goes through splitmix64 (Steele, Lea and Flood,
2014), the four 16-bit quarters of each word are added up, and the sum, centred, is scaled by a power of
two. A whole number below 2^24 and a power of two are exact in float32, so the bytes are the same on every
machine and for every instruction set. The weights are spread like those of a fresh model (standard
deviation 0.018); they mean nothing, but take as long to multiply as real ones.
"""

import argparse
import json
import pathlib
import sys

import numpy

# Vocabulary, width, feed-forward, layers, heads, key/value heads, context, theta, epsilon, tied: the
# shapes of SmolLM-135M, SmolLM-360M and TinyLlama-1.1B; `test` is small enough for a test to build.
SIZES = {
    "test": (256, 64, 160, 2, 4, 2, 2048, 10000.0, 1e-5, True),
    "135m": (49152, 576, 1536, 30, 9, 3, 2048, 10000.0, 1e-5, True),
    "360m": (49152, 960, 2560, 32, 15, 5, 2048, 10000.0, 1e-5, True),
    "1.1b": (32000, 2048, 5632, 22, 32, 4, 2048, 10000.0, 1e-5, False),
}

# Numbers made at a time: enough for the loops of numpy, and few enough to stay in the processor's caches.
BLOCK = 1 << 17

STEP = numpy.uint64(0x9E3779B97F4A7C15)
FIRST = numpy.uint64(0xBF58476D1CE4E5B9)
SECOND = numpy.uint64(0x94D049BB133111EB)
QUARTERS = numpy.uint64(0x0000FFFF0000FFFF)
LOW_HALF = numpy.uint64(0xFFFFFFFF)


def mix(words):
    """The finaliser of splitmix64, in place."""
    words ^= words >> numpy.uint64(30)
    words *= FIRST
    words ^= words >> numpy.uint64(27)
    words *= SECOND
    words ^= words >> numpy.uint64(31)
    return words


def stream(seed, name):
    """The start of the counter of one tensor, by its name: tensors don't depend on each other's order."""
    state = seed
    for byte in name.encode():
        state = int(mix(numpy.array([(state + byte + 1) % 2**64], dtype=numpy.uint64))[0])
    return numpy.uint64(state)


def blocks(seed, name, count):
    """Yields the tensor's whole numbers, centred: each in -131070 ..= 131070, deviation 37837."""
    start = stream(seed, name)
    for at in range(0, count, BLOCK):
        words = numpy.arange(at, min(at + BLOCK, count), dtype=numpy.uint64)
        words *= STEP
        words += start
        mix(words)
        pairs = (words & QUARTERS) + ((words >> numpy.uint64(16)) & QUARTERS)
        sums = (pairs & LOW_HALF) + (pairs >> numpy.uint64(32))
        yield sums.astype(numpy.int32) - numpy.int32(131070)


def values(seed, name, count):
    """Yields the tensor's float32 values: small ones for a matrix, close to one for a norm."""
    for whole in blocks(seed, name, count):
        small = whole.astype("<f4") * numpy.float32(2.0**-21)
        yield small + numpy.float32(1.0) if name.endswith("norm.weight") else small


def shapes(size):
    """The tensors of a checkpoint and their shapes, sorted by name."""
    vocabulary, hidden, feed_forward, layers, heads, kv_heads, _, _, _, tied = SIZES[size]
    head_dim = hidden // heads
    tensors = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    if not tied:
        tensors["lm_head.weight"] = (vocabulary, hidden)
    for layer in range(layers):
        of_layer = {
            "input_layernorm": (hidden,),
            "post_attention_layernorm": (hidden,),
            "self_attn.q_proj": (heads * head_dim, hidden),
            "self_attn.k_proj": (kv_heads * head_dim, hidden),
            "self_attn.v_proj": (kv_heads * head_dim, hidden),
            "self_attn.o_proj": (hidden, heads * head_dim),
            "mlp.gate_proj": (feed_forward, hidden),
            "mlp.up_proj": (feed_forward, hidden),
            "mlp.down_proj": (hidden, feed_forward),
        }
        for name, shape in of_layer.items():
            tensors[f"model.layers.{layer}.{name}.weight"] = shape
    return dict(sorted(tensors.items()))


def count(shape):
    """The number of elements, as an exact whole number."""
    product = 1
    for extent in shape:
        product *= extent
    return product


def config(size):
    """The `config.json` of a size."""
    vocabulary, hidden, feed_forward, layers, heads, kv_heads, context, theta, epsilon, tied = SIZES[size]
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": feed_forward,
        "max_position_embeddings": context,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": epsilon,
        "rope_scaling": None,
        "rope_theta": theta,
        "tie_word_embeddings": tied,
        "torch_dtype": "float32",
        "vocab_size": vocabulary,
    }


def header(tensors):
    """The first bytes of a safetensors file: a length, and JSON padded to a multiple of eight."""
    entries, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors.items():
        end = offset + 4 * count(shape)
        entries[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", required=True, choices=SIZES)
    parser.add_argument("--seed", type=int, default=0, help="0 to 2^64-1")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    if not 0 <= arguments.seed < 2**64:
        parser.error("`--seed` must lie in 0 to 2^64-1")

    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(config(arguments.size), indent=2) + "\n"
    (arguments.out / "config.json").write_text(text, encoding="utf-8")
    tensors = shapes(arguments.size)
    with open(arguments.out / "model.safetensors", "wb") as file:
        file.write(header(tensors))
        for name, shape in tensors.items():
            for block in values(arguments.seed, name, count(shape)):
                file.write(block.data)


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"make_llama: {error}")
