"""A small GGUF file with a tensor of every type that loam reads, written by the gguf package, and what that package makes of it.

    python tests/golden/make_gguf.py            # writes tests/golden/gguf/

    types.gguf           one tensor a type, named after it, of random blocks; a pair of every kind of value
    types.safetensors    NAME: the same elements as F32; input: numbers to be quantized, with rows of zeros, ties, extremes;
                         quantized.Q8_0, quantized.Q4_0: their blocks' bytes
"""
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).resolve().parent
# Where the fp16 numbers of a block stand: random bytes there could be infinite.
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def random_blocks(name, rng):
    elements, size = gguf.GGML_QUANT_SIZES[Type[name]]
    rows, columns = (6, 4) if elements == 32 else (3, 2)
    blocks = rng.integers(0, 256, (rows * columns, size), dtype=np.uint8)
    for place in HALVES[name]:
        scale = (rng.normal(size=rows * columns) * 0.02).astype(np.float16)
        scale[0] = np.float16(0)
        scale[1] = np.float16(6e-8)    # the smallest there is
        blocks[:, place:place + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, columns * size)


def numbers_to_quantize(rng):
    values = rng.normal(size=(8, 64)).astype(np.float32)
    values[0] = 0
    values[1] *= 1e-7                  # scales below what fp16 has
    values[2, :32] = np.arange(-16, 16)
    values[2, 32:] = -values[2, :32]   # largest size twice, with both signs
    values[3] *= 1e4
    values[4, 0] = 127.0               # scale 1: ties
    values[4, 1:32] = np.arange(31) - 15.5
    return values


def main():
    folder = HERE / "gguf"
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(folder / "types.gguf", "llama")
    expected = {}
    for name in ("F32", "F16"):
        data = rng.normal(size=(3, 5)).astype(np.float32 if name == "F32" else np.float16)
        writer.add_tensor(name, data)
        expected[name] = data.astype(np.float32)
    bits = (rng.normal(size=(3, 6)).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    writer.add_tensor("BF16", bits.view(np.uint8), raw_dtype=Type.BF16)
    expected["BF16"] = (bits.astype(np.uint32) << 16).view(np.float32)
    for name in HALVES:
        blocks = random_blocks(name, rng)
        writer.add_tensor(name, blocks, raw_dtype=Type[name])
        expected[name] = gguf.dequantize(blocks, Type[name]).astype(np.float32)
    for kind, value in (("uint8", 200), ("int8", -100), ("uint16", 60000), ("int16", -30000), ("uint32", 4000000000),
                        ("int32", -2000000000), ("float32", 0.5), ("bool", True), ("string", "grüße"),
                        ("uint64", 2 ** 63 + 5), ("int64", -2 ** 62), ("float64", 0.1)):
        getattr(writer, "add_" + kind)("kind." + kind, value)
    writer.add_array("kind.strings", ["", "a", "日本"])
    writer.add_array("kind.ints", [1, -2, 3])
    writer.add_array("kind.floats", [0.25, -1.5])
    writer.add_array("kind.bools", [True, False, True])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    values = numbers_to_quantize(rng)
    expected["input"] = values
    for name in ("Q8_0", "Q4_0"):
        expected["quantized." + name] = gguf.quantize(values, Type[name])
    save_file(expected, folder / "types.safetensors")


if __name__ == "__main__":
    main()
