"""Mutations of sound files, by format: damaged bytes, JSON of other types, tensors of other names, types and values.

Each is ``mutate(random, path)``, which changes the file in place; :func:`mutations` gives those that fit a file.
"""

import gzip
import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load, save

Mutation = Callable[[random.Random, Path], None]


# Of any file.


def cut_short(rng, path):
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data) + 1)])


def flip_bits(rng, path):
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 3, 30))):
        data[rng.choice((rng.randrange(len(data)), rng.randrange(min(len(data), 100))))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def insert_bytes(rng, path):
    data, place = path.read_bytes(), rng.randrange(path.stat().st_size + 1)
    path.write_bytes(data[:place] + rng.randbytes(rng.choice((1, 8, 1000))) + data[place:])


def overwrite_number(rng, path):
    """Put a number of the kinds that headers hold over some bytes near the beginning or the end."""
    data = bytearray(path.read_bytes())
    size = rng.choice((2, 4, 8))
    value = rng.choice((0, 1, 2**31, 2**15, 2 ** (8 * size) - 1, rng.getrandbits(8 * size))) % 2 ** (8 * size)
    place = rng.choice((rng.randrange(len(data)), rng.randrange(min(len(data), 64)), max(0, len(data) - 64)))
    data[place : place + size] = value.to_bytes(size, rng.choice(("little", "big")))
    path.write_bytes(data)


def random_bytes(rng, path):
    path.write_bytes(rng.randbytes(rng.choice((0, 1, 8, 100, 10_000))))


def another_format(rng, path):
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    choices = (
        b"",
        b"\n",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe{\x00}\x00",
        b"\x1f\x8b\x08",
        b"\x89PNG\r\n\x1a\n",
        b"%PDF-1.4",
    )
    path.write_bytes(rng.choice((*choices, empty.getvalue(), gzip.compress(b"\0" * 100))))


NO_FILES = (Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere"))


def be_no_file(rng, path):
    """Let a folder, a pipe, a dangling link, a link to itself or nothing at all stand in the file's place."""
    path.unlink()
    rng.choice((*NO_FILES, lambda path: path.symlink_to(path), lambda path: None))(path)


ANY = (cut_short, flip_bits, insert_bytes, overwrite_number, random_bytes, another_format, be_no_file)

# Of JSON.

HUGE, LONG = 10**30, "9" * 5000
VALUES = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3.5,
        -0.0,
        1e308,
        2**31,
        2**63,
        2**64,
        HUGE,
        10**9,
        "",
        "x",
        "0",
        "a\0b",
        "\x1b[31m",
    ),
    *([], {}, [None], [[]], {"a": None}, [0] * 100, "../../etc", "ß" * 300, "é\ud800", float("nan"), float("inf")),
)


def _places(value, at=()):
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from _places(part, (*at, key))


def _parent(value, at):
    for key in at[:-1]:
        value = value[key]
    return value


def change_json(rng, value):
    """Return JSON values with one place changed, removed, renamed, doubled or added."""
    at = rng.choice(list(_places(value)))
    if not at:
        return rng.choice(VALUES)
    parent, key = _parent(value, at), at[-1]
    match rng.randrange(5):
        case 0 | 1:
            parent[key] = rng.choice(VALUES)
        case 2:
            del parent[key]
        case 3 if isinstance(parent, dict):
            parent[f"{key}_"] = parent.pop(key)
        case _ if isinstance(parent, list):
            parent.extend([parent[key]] * rng.choice((1, 1000)))
        case _:
            parent["more"] = rng.choice(VALUES)
    return value


def json_values(rng, path):
    value = json.loads(path.read_text())
    for _ in range(rng.choice((1, 1, 2))):
        value = change_json(rng, value)
    path.write_text(json.dumps(value))


def json_text(rng, path):
    """Write what a parser of JSON meets: a mark of byte order, other encodings, depth, long numbers, doubled keys."""
    text = path.read_text()
    deep = rng.choice((10, 1000, 100_000))
    path.write_bytes(
        rng.choice(
            (
                b"\xef\xbb\xbf" + text.encode(),
                text.encode("utf-16"),
                text.encode("utf-32"),
                ("[" * deep + "]" * deep).encode(),
                ('{"a":' * deep + "1" + "}" * deep).encode(),
                LONG.encode(),
                text.replace("0", LONG, 1).encode(),
                text.replace("1", "NaN", 1).encode(),
                text.replace("1", "-Infinity", 1).encode(),
                text.replace('"', "'", 2).encode(),
                text.encode() + b"}",
                text.replace("e", "\xe9", 1).encode("latin-1"),
            )
        )
    )


def json_lines(rng, path):
    lines = path.read_text().splitlines()
    index = rng.randrange(len(lines))
    lines[index] = rng.choice(
        (json.dumps(change_json(rng, json.loads(lines[index]))), "", "{}", "null", "{", LONG, "[]")
    )
    path.write_text("\n".join(lines) + "\n")


# Of tensors.

TYPES = (
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.complex64,
)
FILLS = (float("nan"), float("inf"), -float("inf"), 1e30, -1.0, 1e9, 0.0)


def change_tensor(rng, tensor):
    """Return a tensor of another type, shape or value."""
    kind = rng.randrange(6)
    if kind == 0:
        return tensor.to(rng.choice(TYPES))
    if kind == 1:
        return tensor.flatten()[: rng.randrange(tensor.numel() + 1)].clone()
    if kind == 2:
        return torch.cat([tensor.reshape(-1, 1) if tensor.ndim == 0 else tensor] * 2)
    if kind == 3:
        return tensor[None].clone()
    if kind == 4:
        return torch.zeros(rng.choice(((0,), (), (0, 2**40), (1, 1, 1, 1, 1))), dtype=tensor.dtype)
    changed = tensor.clone()
    fill = rng.choice(FILLS)
    if not changed.is_floating_point() and (fill != fill or abs(fill) == float("inf") or abs(fill) > 1e18):
        fill = rng.choice((-1, 10**9, 127))
    if changed.dtype == torch.uint8 or changed.dtype == torch.bool:
        fill = 255
    if changed.numel():
        changed.view(-1)[rng.randrange(changed.numel())] = fill
    return changed


def change_state(rng, state):
    """Return named tensors with one missing, renamed, added or changed, or all of them in another way."""
    name = rng.choice(sorted(state))
    match rng.randrange(8):
        case 0:
            del state[name]
        case 1:
            state[f"{name}x"] = state.pop(name)
        case 2:
            state["more"] = torch.zeros(3)
        case 3:
            state = {}
        case 4:
            dtype = rng.choice(TYPES)
            state = {key: value.to(dtype) for key, value in state.items()}
        case 5:
            prefix = rng.choice(("module.", "_orig_mod.", "x.", "generator."))
            state = {prefix + key: value for key, value in state.items()}
        case _:
            state[name] = change_tensor(rng, state[name])
    return state


def _metadata(data):
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get("__metadata__", {})


def safetensors_values(rng, path):
    data = path.read_bytes()
    path.write_bytes(save(change_state(rng, load(data)), _metadata(data)))


def safetensors_header(rng, path):
    """Change the JSON header itself, its length and the metadata in it."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if rng.random() < 0.4 and header.get("__metadata__"):
        key = rng.choice(sorted(header["__metadata__"]))
        word = header["__metadata__"][key]
        header["__metadata__"][key] = rng.choice(
            ("", "{}", "null", "[" * 100_000, "[" * 900 + "]" * 900, LONG, word[:-1])
        )
        try:
            value = json.loads(word)
        except ValueError:
            value = word
        if rng.random() < 0.5:
            header["__metadata__"][key] = json.dumps(change_json(rng, value))
    else:
        header = change_json(rng, header)
    changed = json.dumps(header).encode()
    length = rng.choice((len(changed), len(changed), len(changed), 0, 2**63, len(changed) + 1))
    path.write_bytes(length.to_bytes(8, "little") + changed + data[8 + size :])


ODD_STATES = (  # of a sound state dict and the name of its first tensor
    lambda state, first: {first: state[first]},
    lambda state, first: {0: state[first]},
    lambda state, first: {first: [1, 2]},
    lambda state, first: {"state_dict": None},
    lambda state, first: {"state_dict": {"state_dict": state}},
    lambda state, first: {"model": state, "epoch": 3},
    lambda state, first: {"g_ema": state},
    lambda state, first: {"state_dict": {f"model.{k}": v for k, v in state.items()}, "hyper_parameters": {"x": 1}},
    lambda state, first: [state],
    lambda state, first: None,
    lambda state, first: state[first],
    lambda state, first: {key: value.to_sparse() if value.ndim == 2 else value for key, value in state.items()},
    lambda state, first: {key: value.to("meta") for key, value in state.items()},
    lambda state, first: {k: torch.zeros((), dtype=v.dtype).expand(v.shape) for k, v in state.items()},
    lambda state, first: {**state, first: torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.quint8)},
    lambda state, first: {**state, first: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])},
    lambda state, first: {**state, first: torch.empty(0, 2**40)},
    lambda state, first: {**state, first: torch.zeros(1).expand(2**30)},
)


def pth_values(rng, path):
    state = torch.load(path, weights_only=True)
    if rng.random() < 0.5:
        torch.save(change_state(rng, state), path)
    else:
        torch.save(rng.choice(ODD_STATES)(state, next(iter(state))), path)


def deflate(rng, path):
    """Write the zip again with its members deflated, one of them as zeros of another size, or some missing."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    name = rng.choice(sorted(members))
    kind = rng.randrange(3)
    if kind == 0:
        members[name] = bytes(rng.choice((0, 10, 50_000_000)))
    elif kind == 1:
        del members[name]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member, data in members.items():
            new.writestr(member, data)


# Of packed and of listed files.


def unpack_and_change(rng, path):
    data = bytearray(gzip.decompress(path.read_bytes()))
    kind = rng.randrange(4)
    if kind == 0:
        data[rng.randrange(min(16, len(data)))] = rng.randrange(256)
    elif kind == 1:
        data = data[: rng.randrange(len(data))]
    elif kind == 2:
        data += bytes(rng.choice((1, 100_000_000)))
    else:
        data[rng.randrange(len(data))] = 255
    path.write_bytes(gzip.compress(bytes(data)) if rng.random() < 0.7 else bytes(data))


ODD_NAMES = (
    "._x.png",
    ".hidden.png",
    "x.pdf",
    "x.h5",
    "x.png.tmp",
    "x\x1b[31m.png",
    "x\udcff.png",
    "ß.png",
    "x.PNG",
    "x",
)


def odd_entries(rng, path):
    """Put something strange beside a file of a folder of pictures, or above it."""
    folder = rng.choice((path.parent, path.parent.parent))
    entry = folder / rng.choice(ODD_NAMES)
    if os.path.lexists(entry):
        return
    rng.choice((*NO_FILES, lambda entry: entry.write_bytes(b"no picture"), lambda entry: shutil.copy(path, entry)))(
        entry
    )


def text_words(rng, path):
    words = (
        "0-99999999",
        "5-3",
        "9" * 40,
        "-1",
        "1e9",
        "x",
        "",
        "0,,1",
        "\ufeff0-3",
        "0-1-2",
        "٣",
        "²",
        "a" * 5000,
        "\0",
    )
    path.write_text(rng.choice((",", "\n", " ")).join(rng.choices(words, k=rng.randrange(4))))


FORMATS = {
    ".json": (json_values, json_values, json_text),
    ".jsonl": (json_lines,),
    ".safetensors": (safetensors_values, safetensors_values, safetensors_header),
    ".pth": (pth_values, pth_values, deflate),
    ".bin": (pth_values, pth_values, deflate),
    ".gz": (unpack_and_change, unpack_and_change),
    ".npz": (deflate, deflate),
    ".png": (odd_entries,),
    ".txt": (text_words, text_words),
}


def mutations(path: Path) -> tuple[Mutation, ...]:
    """Return the mutations that fit a file: those of its format, as likely as all others together."""
    own = FORMATS.get(path.suffix, ())
    return (*own * 3, *ANY)


def mutate(rng: random.Random, folder: Path, targets: tuple[str, ...]) -> str:
    """Change one of the ``targets`` in ``folder``; return its name and the mutation's."""
    path = folder / rng.choice(targets)
    change = rng.choice(mutations(path))
    if not path.stat().st_size:
        change = random_bytes
    change(rng, path)
    return f"{path.name}: {change.__name__}"
