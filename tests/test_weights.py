"""Files of weights: every usual way to store them is read the same, whatever is no weight is refused by name."""

import io
import json
import os
import resource
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
import torch

from skdcgn.base.errors import UserError
from skdcgn.base.tensors import read_tensors, write_tensors
from skdcgn.base.weights import fill, on_meta, read_state_dict

STATE = {"0.weight": torch.arange(12.0).view(4, 3), "0.bias": torch.ones(4)}
NETWORK = torch.nn.Sequential(torch.nn.Linear(3, 4))


def prefixed(prefix, state=STATE):
    return {prefix + name: value for name, value in state.items()}


def refusal(path):
    with pytest.raises(UserError) as error:
        read_state_dict(path)
    line = str(error.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line


LAYOUTS = {
    "plain": STATE,
    "compiled": prefixed("_orig_mod."),
    "parallel and compiled": prefixed("module._orig_mod."),
    "a compiled part": {"0._orig_mod.weight": STATE["0.weight"], "0.bias": STATE["0.bias"]},
    "averaged": {"n_averaged": torch.tensor(3), **prefixed("module.")},
    "prefix model": prefixed("model."),
    "prefix generator": prefixed("generator."),
}
CHECKPOINTS = {
    **{name: {name: STATE, "epoch": 3} for name in ("state_dict", "model", "generator", "model_state_dict")},
    "average first": {"g": {}, "generator": {}, "g_ema": STATE},
    "params_ema": {"params": {}, "params_ema": STATE},
    "wrapped twice": {"model": {"state_dict": prefixed("module.")}},
    "lightning": {
        "state_dict": prefixed("model."),
        "hyper_parameters": {"lr": 1e-3},
        "pytorch-lightning_version": "2.1",
        "optimizer_states": [],
    },
}


@pytest.mark.parametrize("suffix", [".pth", ".PTH", ".pt", ".bin", ".ckpt", ".safetensors", ".SafeTensors"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_prefixes_are_taken_off_in_every_kind_of_file(layout, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    write_tensors(path, LAYOUTS[layout]) if "safe" in suffix.lower() else torch.save(LAYOUTS[layout], path)
    state = read_state_dict(path)
    assert all(torch.equal(state[name], value) for name, value in STATE.items())
    assert state.keys() <= {*STATE, "n_averaged"}


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "of torch 1.5"])
@pytest.mark.parametrize("layout", CHECKPOINTS)
def test_wrappers_of_checkpoints_are_taken_off(layout, archive, tmp_path):
    torch.save(CHECKPOINTS[layout], tmp_path / "w.ckpt", _use_new_zipfile_serialization=archive)
    state = read_state_dict(tmp_path / "w.ckpt")
    assert list(state) == list(STATE)
    assert all(torch.equal(state[name], value) for name, value in STATE.items())


def test_names_that_share_no_known_prefix_stay(tmp_path):
    state = {"embeddings.weight": torch.ones(2), "generator.bias": torch.ones(3), "features.0": torch.ones(1)}
    write_tensors(tmp_path / "w.safetensors", state)
    assert read_state_dict(tmp_path / "w.safetensors").keys() == state.keys()


def not_weights():
    """Tensors that no network of floating point numbers has."""
    with warnings.catch_warnings(action="ignore"):
        return {
            "int32": torch.ones(3, dtype=torch.int32),
            "uint8": torch.ones(3, dtype=torch.uint8),
            "bool": torch.ones(3, dtype=torch.bool),
            "complex": torch.ones(3, dtype=torch.complex64),
            "quantised": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8),
            "sparse": torch.eye(3).to_sparse(),
            "compressed rows": torch.eye(3).to_sparse_csr(),
            "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
            "jagged": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
            "meta": torch.empty(3, device="meta"),
            "stride 0": torch.zeros(1).expand(2**40),
            "no numbers": torch.empty(2**40, 0),
            "a number": 3.0,
        }


@pytest.mark.parametrize("kind", not_weights())
def test_a_tensor_that_is_no_weight_is_refused_by_name(kind, tmp_path):
    with warnings.catch_warnings(action="ignore"):
        torch.save({"sound": torch.ones(2), "unsound\n\x1b[2J": not_weights()[kind]}, tmp_path / "w.pth")
    assert r"unsound\n\x1b[2J" in refusal(tmp_path / "w.pth")


def safetensors(header, data=b""):
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


def tensor(dtype="F32", shape=(2,), size=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [0, size]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(7),
        struct.pack("<Q", 2**40) + b"{}",
        safetensors(b"[" * 10_000),
        safetensors({}),
        safetensors({"a": tensor("X\n")}, bytes(8)),
        safetensors({"a": tensor(shape=(2**40,), size=2**42)}),
        safetensors({"a": tensor(shape=(2**40, 0), size=0)}),
        safetensors({"a": tensor(shape=(2**63, 0), size=0)}),
        safetensors({"a": tensor("BOOL", size=2)}, bytes(2)),
        safetensors({"a": tensor("F8_E4M3", size=2)}, bytes(2)),
        safetensors({"a": tensor()}, bytes(4)),
    ],
)
def test_a_header_that_claims_what_is_not_there_is_refused(data, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(data)
    refusal(tmp_path / "w.safetensors")


def archive(tmp_path, change=None, compression=zipfile.ZIP_STORED):
    """Write the archive of a state dict again, member by member."""
    torch.save(STATE, tmp_path / "sound.pth")
    with zipfile.ZipFile(tmp_path / "sound.pth") as old, zipfile.ZipFile(tmp_path / "w.pth", "w", compression) as new:
        for member in old.infolist():
            data = old.read(member)
            new.writestr(member.filename, change(data) if change and member.filename.endswith(".pkl") else data)
    return tmp_path / "w.pth"


def test_a_compressed_archive_is_refused_before_it_takes_memory(tmp_path):
    path = archive(tmp_path, lambda data: data + bytes(256 * 2**20), zipfile.ZIP_DEFLATED)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "compressed and would unpack to 268,43" in refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_storage_that_claims_more_than_the_archive_takes_no_memory(tmp_path):
    count = b"K\x0c"  # the pickle's number of 12
    path = archive(tmp_path, lambda data: data.replace(count, b"J" + struct.pack("<i", 2**30)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert torch.equal(read_state_dict(path)["0.weight"], STATE["0.weight"])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_flipped_bit_is_noticed(tmp_path):
    path = archive(tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<f", 11.0))] ^= 1
    path.write_bytes(data)
    assert "the checksum of" in refusal(path)


def test_pipes_and_folders_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "w.pth")
    (tmp_path / "w.safetensors").mkdir()
    assert "a pipe or a device" in refusal(tmp_path / "w.pth")
    assert "a folder" in refusal(tmp_path / "w.safetensors")


def test_a_checkpoint_that_holds_itself_ends(tmp_path):
    state = {}
    state["model"] = state
    torch.save(state, tmp_path / "w.pth")
    assert "'model' is none" in refusal(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"0.bias": torch.ones(5)}, r"0.bias is \(5,\), the network has \(4,\)"),
        ({"0.bias": torch.ones(4, dtype=torch.int64)}, "0.bias is of type torch.int64, the network has torch.float32"),
        ({"0.bias": torch.tensor([0, 0, 0, float("nan")])}, "0.bias holds NaN"),
        ({"0.weight": torch.full((4, 3), 1e300, dtype=torch.float64)}, "0.weight holds NaN or infinity"),
        ({"1.bias": torch.ones(4)}, r"1.bias is \(4,\), the network has no such tensor"),
    ],
)
def test_a_module_takes_tensors_that_fit_alone(changes, words):
    with pytest.raises(UserError, match=f"^file.*{words}"):
        fill(on_meta(torch.nn.Sequential, torch.nn.Linear(3, 4)), {**STATE, **changes}, "file", "the network")


def test_a_missing_tensor_is_told_with_one_that_is_there():
    with pytest.raises(UserError, match=r"0.bias is missing, the network has \(4,\) \(it holds 0.offset\)"):
        fill(NETWORK, {"0.weight": STATE["0.weight"], "0.offset": STATE["0.bias"]}, "file", "the network")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_floating_point_type_becomes_the_modules(dtype):
    module = fill(torch.nn.Sequential(torch.nn.Linear(3, 4)), {k: v.to(dtype) for k, v in STATE.items()}, "", "")
    assert all(torch.equal(value, STATE[name]) for name, value in module.state_dict().items())


def test_random_damage_ends_in_one_line(tmp_path):
    rng, path = torch.Generator().manual_seed(0), tmp_path / "w.pth"
    sources, lines = [], []
    for kind in (True, False):
        torch.save(STATE, buffer := io.BytesIO(), _use_new_zipfile_serialization=kind)
        sources.append(buffer.getvalue())
    for source in sources:
        for _ in range(60):
            data, place = bytearray(source), int(torch.randint(len(source), (), generator=rng))
            data[place] ^= 1 << int(torch.randint(8, (), generator=rng))
            path.write_bytes(data[: place + 1] if place % 3 == 0 else data)
            try:
                read_state_dict(path)
            except UserError as error:
                lines.append(str(error))
    assert len(lines) > 60
    assert not any("\n" in line for line in lines)


def test_reading_gives_the_bytes_that_were_written(tmp_path):
    write_tensors(tmp_path / "w.safetensors", STATE)
    state, metadata = read_tensors(Path(tmp_path / "w.safetensors"))
    assert metadata == {}
    assert all(torch.equal(state[name], value) for name, value in STATE.items())
