"""Spoils files as people have had them: spoil.py KIND PATH [MORE]. The standard library is all it needs.

PATH is a copy of the smallest model (`heartstream synth --size tiny`), a folder with golden data, or a saved song.
"""

import hashlib
import json
import os
import shutil
import struct
import sys

LM = "HeartMuLa-oss-3B"
CODEC = "HeartCodec-oss"
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I8": 1, "U8": 1, "U16": 2, "F8_E4M3": 1}


def count(shape):
    product = 1
    for size in shape:
        product *= size
    return product


def read(path):
    """Tensors of a file: dtype, shape and bytes by name; and its text."""
    with open(path, "rb") as file:
        whole = file.read()
    (length,) = struct.unpack("<Q", whole[:8])
    header, data = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    text = header.pop("__metadata__", None)
    cut = lambda tensor: data[slice(*tensor["data_offsets"])]
    return {name: (tensor["dtype"], tensor["shape"], cut(tensor)) for name, tensor in header.items()}, text


def write(path, tensors, text=None):
    header, data = {}, b""
    if text:
        header["__metadata__"] = text
    for name, (dtype, shape, part) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header + data)


def zeros(dtype, shape):
    return dtype, shape, bytes(BYTES[dtype] * count(shape))


def numbers(shape, first, others=0.5):
    """f32 of this shape, the first of them another one."""
    return "F32", shape, struct.pack(f"<{count(shape)}f", first, *[others] * (count(shape) - 1))


def change(path, edit):
    tensors, text = read(path)
    write(path, edit(tensors), text)


def each_matrix(edit):
    """What `edit` makes of each matrix, by names, and everything else as it was."""

    def all_of_them(tensors):
        changed = {}
        for name, tensor in tensors.items():
            is_matrix = len(tensor[1]) == 2 and "embed" not in name
            changed.update(edit(name, tensor[1]) if is_matrix else {name: tensor})
        return changed

    return all_of_them


def four_bits(name, shape):
    return {
        name: zeros("U8", [count(shape) // 2, 1]),
        f"{name}.absmax": zeros("F32", [max(1, count(shape) // 64)]),
        f"{name}.quant_map": zeros("F32", [16]),
        f"{name}.quant_state.bitsandbytes__nf4": ("U8", [4], b"null"),
    }


def eight_bits(name, shape):
    return {name: zeros("I8", shape), name.replace("weight", "SCB"): zeros("F32", [shape[0]])}


def as_dtype(dtype):
    return lambda tensors: {name: zeros(dtype, shape) for name, (_, shape, _) in tensors.items()}


def with_tensor(name, made):
    """A file in which `made` gives the tensor `name` from its shape."""
    return lambda tensors: {**tensors, name: made(tensors[name][1])}


def halved(tensors):
    return {name: zeros("F32", [size // 2 for size in shape]) for name, (_, shape, _) in tensors.items()}


def shards_without_index(model):
    path = f"{model}/{LM}/model.safetensors"
    tensors = list(read(path)[0].items())
    os.remove(path)
    for shard in range(2):
        write(f"{model}/{LM}/model-{shard + 1:05}-of-00002.safetensors", dict(tensors[shard::2]))


def without_end(path):
    """A saved song that was asked for with 2^32 frames."""
    tensors, text = read(path)
    request = json.loads(text["request"])
    request["max_frames"] = 1 << 32
    write(path, tensors, {**text, "request": json.dumps(request)})


def cache(model, home):
    """The cache of the hub's own programs with all of the model in it."""
    commit = "a" * 40
    for repository, folder in [
        ("HeartMuLaGen", ""),
        ("HeartMuLa-oss-3B-happy-new-year", LM),
        ("HeartCodec-oss-20260123", CODEC),
    ]:
        own = f"{home}/hub/models--HeartMuLa--{repository}"
        for place in ["blobs", "refs", f"snapshots/{commit}"]:
            os.makedirs(f"{own}/{place}")
        with open(f"{own}/refs/main", "w") as file:
            file.write(commit)
        for name in os.listdir(os.path.join(model, folder)):
            path = os.path.join(model, folder, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    blob = hashlib.sha256(file.read()).hexdigest()
                shutil.copy(path, f"{own}/blobs/{blob}")
                os.symlink(f"../../blobs/{blob}", f"{own}/snapshots/{commit}/{name}")


def weights(edit, part=LM, file="model.safetensors"):
    return lambda model: change(f"{model}/{part}/{file}", edit)


def goldens(edit):
    return lambda folder: change(f"{folder}/goldens.safetensors", edit)


KINDS = {
    "bnb4": weights(each_matrix(four_bits)),
    "bnb8": weights(each_matrix(eight_bits)),
    "fp8": weights(each_matrix(lambda name, shape: {name: zeros("F8_E4M3", shape)})),
    "f64": weights(as_dtype("F64"), CODEC),
    "prefix": weights(lambda tensors: {f"model.{name}": tensor for name, tensor in tensors.items()}),
    "nan": weights(with_tensor("backbone.norm.scale", lambda shape: numbers(shape, float("nan")))),
    "bigcodec": weights(
        with_tensor("flow_matching.cond_feature_emb.weight", lambda shape: numbers(shape, 1e5)), CODEC
    ),
    "shards_noindex": shards_without_index,
    "drafter_narrow": weights(halved, LM, "drafter.safetensors"),
    "drafter_empty": weights(
        with_tensor("next.layers.0.mlp.w1.weight", lambda shape: zeros("F32", [0, shape[1]])), LM, "drafter.safetensors"
    ),
    "goldens_input": goldens(with_tensor("codec.estimator.input", lambda shape: zeros("F32", [*shape[:2], shape[2] - 1]))),
    "goldens_times": goldens(with_tensor("codec.estimator.timestep", lambda shape: zeros("F32", [0]))),
    "goldens_codes": goldens(with_tensor("codec.codes", lambda shape: zeros("I64", [shape[0], 0]))),
    "without_end": without_end,
    "cache": cache,
}

if __name__ == "__main__":
    KINDS[sys.argv[1]](*sys.argv[2:])
