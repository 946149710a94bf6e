"""Hostile and broken files, made on the spot. A payload that ran would leave the file MARK."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as as_safetensors
from torch import nn

MARK = "MARK"
TOUCH = f"touch {MARK}"


class Runs:
    """Something whose pickle is a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def weights() -> dict[str, torch.Tensor]:
    return dict(network().state_dict())


def torch_zip(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def legacy(content: Any) -> bytes:
    return torch_zip(content, _use_new_zipfile_serialization=False)


def word(text: str) -> bytes:
    """The opcode that pushes a short text, known from protocol 4 on."""
    return b"\x8c" + bytes([len(text)]) + text.encode()


def with_pickle(program: bytes) -> bytes:
    """A checkpoint whose data.pkl is `program`."""
    return repacked(lambda name, data: (name, program if name.endswith("data.pkl") else data))


def repacked(
    change: Callable[[str, bytes], tuple[str, bytes]], method: int = zipfile.ZIP_STORED
) -> bytes:
    """A sound checkpoint, each entry of which went through `change`."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(torch_zip(weights()))) as source,
        zipfile.ZipFile(target, "w", method) as out,
    ):
        for entry in source.infolist():
            out.writestr(*change(entry.filename, source.read(entry)))
    return target.getvalue()


def archive(**entries: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as out:
        for name, data in entries.items():
            out.writestr(name.replace("__", "/").replace("_DOT_", "."), data)
    return target.getvalue()


def doubled() -> bytes:
    """A checkpoint with two entries of one name, the second of which runs something."""
    stream = io.BytesIO(torch_zip(weights()))
    with zipfile.ZipFile(stream, "a") as out:
        name = next(n for n in out.namelist() if n.endswith("data.pkl"))
        # Under another name first, as zipfile warns about the second.
        spare = name[:-1] + "X"
        out.writestr(spare, pickle.dumps(Runs(os.system, TOUCH)))
    return stream.getvalue().replace(spare.encode(), name.encode())


def encrypted() -> bytes:
    """A checkpoint that claims to need a password."""
    data = bytearray(torch_zip(weights()))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


def before_the_start() -> bytes:
    """A zip whose directory is said to begin later than it does, so that entries lie before 0."""
    data = bytearray(repacked(lambda name, content: (name, content)))
    at = data.rindex(b"PK\x05\x06") + 16
    data[at : at + 4] = (int.from_bytes(data[at : at + 4], "little") + 10_000).to_bytes(4, "little")
    return bytes(data)


def overlapping() -> bytes:
    """A zip whose directory lists one large entry under many names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as out:
        out.writestr("a/data.pkl", b"\x80\x02}.")
        out.writestr("a/data/0", bytes(100_000))
        first = out.infolist()[1]
        for number in range(1, 30):
            info = zipfile.ZipInfo(f"a/data/{number}")
            info.header_offset, info.CRC = first.header_offset, first.CRC
            info.file_size = info.compress_size = first.file_size
            out.filelist.append(info)
    return stream.getvalue()


def safetensors(header: dict[str, Any] | bytes, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def tensor_row(start: int, end: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def nan_weights() -> dict[str, torch.Tensor]:
    state = weights()
    state["1.weight"][1, 2] = float("nan")
    return state


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:
        data = pickle.dumps(Runs(os.system, TOUCH))
        info = tarfile.TarInfo("pickle")
        info.size = len(data)
        out.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def exported() -> bytes:
    return archive(
        m__archive_format=b"pt2",
        m__models__model_DOT_json=b"{}",
        m__data__sample_inputs__model_DOT_pkl=pickle.dumps(Runs(os.system, TOUCH)),
    )


def scripted() -> bytes:
    return archive(
        ts__code____torch___DOT_py=b"def forward(self, x): return x",
        ts__data_DOT_pkl=b"\x80\x02}.",
        ts__constants_DOT_pkl=b"\x80\x02).",
        ts__version=b"3\n",
    )


def strange_tensor() -> bytes:
    return torch_zip({"1.weight": torch.eye(3, 4).to_sparse(), "1.bias": torch.zeros(3)})


GOOD = torch_zip(weights())
ST = as_safetensors(weights())
SYSTEM = b"cposix\nsystem\n"
ARG = word(TOUCH)

# name: (bytes, what the refusal must say)
CORPUS: dict[str, tuple[bytes, str]] = {
    "reduce-in-zip": (torch_zip({"w": Runs(os.system, TOUCH)}), r"posix\.system\('touch MARK'\)"),
    "reduce-in-legacy": (legacy({"w": Runs(os.system, TOUCH)}), r"posix\.system\('touch MARK'\)"),
    "bare-protocol-0": (pickle.dumps(Runs(os.system, TOUCH), 0), r"posix\.system\('touch MARK'\)"),
    "bare-protocol-2": (pickle.dumps(Runs(os.system, TOUCH), 2), r"posix\.system\('touch MARK'\)"),
    "bare-protocol-4": (pickle.dumps(Runs(os.system, TOUCH), 4), r"posix\.system\('touch MARK'\)"),
    "eval": (
        torch_zip(Runs(eval, f"open('{MARK}','w')")),
        r"__builtin__\.eval\(\"open\('MARK','w'\)\"\)",
    ),
    "exec-in-legacy": (legacy([Runs(exec, f"open('{MARK}','w')")]), r"__builtin__\.exec\("),
    "getattr-chain": (
        b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'touch MARK'\ntR.",
        r"builtins\.getattr\(builtins\.__import__\('os'\), 'system'\)\('touch MARK'\)",
    ),
    "open-for-writing": (torch_zip(Runs(open, MARK, "w")), r"io\.open\('MARK', 'w'\)"),
    "inst-opcode": (
        with_pickle(b"(S'touch MARK'\niposix\nsystem\n."),
        r"posix\.system\('touch MARK'\)",
    ),
    "obj-opcode": (with_pickle(b"(" + SYSTEM + ARG + b"o."), r"posix\.system\('touch MARK'\)"),
    "newobj-opcode": (
        with_pickle(b"\x80\x02" + SYSTEM + ARG + b"\x85\x81."),
        r"posix\.system\('touch MARK'\)",
    ),
    "newobj-ex-opcode": (
        with_pickle(b"\x80\x04" + SYSTEM + ARG + b"\x85}\x92."),
        r"posix\.system\('touch MARK'\)",
    ),
    "build-opcode": (
        with_pickle(b"\x80\x02cmypkg\nHook\n}b."),
        r"mypkg\.Hook\.__setstate__\(",
    ),
    "stack-global": (
        with_pickle(b"\x80\x04" + word("posix") + word("system") + b"\x93" + ARG + b"\x85R."),
        r"posix\.system\('touch MARK'\)",
    ),
    "names-from-the-memo": (
        with_pickle(
            b"\x80\x04" + word("system") + b"\x94" + word("posix") + b"\x94"  # memorise both
            b"00h\x01h\x00\x93" + ARG + b"\x85R."  # drop them, take them back the other way round
        ),
        r"posix\.system\('touch MARK'\)",
    ),
    "hidden-by-pop": (
        with_pickle(b"\x80\x02" + SYSTEM + ARG + b"\x85R0}."),
        r"posix\.system\('touch MARK'\)",
    ),
    "name-that-is-computed": (
        with_pickle(b"\x80\x04cstr\njoin\n)R" + word("system") + b"\x93" + ARG + b"\x85R."),
        r"str\.join\(\)\.'system'\('touch MARK'\)",
    ),
    "extension-code": (with_pickle(b"\x80\x02\x82\x07)R."), r"copyreg\.extension\.7\(\)"),
    "dotted-name": (
        with_pickle(b"\x80\x04" + word("torch") + word("Size.__init__") + b"\x93)R."),
        r"torch\.Size\.__init__\(\)",
    ),
    "import-alone": (with_pickle(b"\x80\x02cantigravity\nfly\n0}."), r"import of antigravity\.fly"),
    "call-before-the-damage": (
        with_pickle(b"\x80\x02" + SYSTEM + ARG + b"\x85R\xff\xff"),
        r"posix\.system\('touch MARK'\)",
    ),
    "whole-model": (torch_zip(network()), r"pickle of a whole model.*Sequential\(\)"),
    "whole-model-legacy": (legacy(network()), r"pickle of a whole model.*Sequential\(\)"),
    "pickle-like-safetensors": (
        b"\x80\x04" + word("abcd{x") + b"0" + SYSTEM + ARG + b"\x85R.",
        r"posix\.system\('touch MARK'\)",
    ),
    "damaged-pickle": (with_pickle(b"\x80\x02}q\x00(X\xff\x00\x00\x00abc"), r"breaks off"),
    "empty-stack": (with_pickle(b"\x80\x02R."), r"breaks off or is damaged .*stack"),
    "protocol-4": (torch_zip(weights(), pickle_protocol=4), r"protocol 4"),
    "bare-harmless": (pickle.dumps({"w": [1.0]}), r"a bare pickle \(protocol 4\)"),
    "extra-pickle-in-zip": (
        archive(
            a__data_DOT_pkl=b"\x80\x02}.", a__more_DOT_pkl=pickle.dumps(Runs(os.system, TOUCH))
        ),
        r"posix\.system\('touch MARK'\)",
    ),
    "deflated-bomb": (
        repacked(
            lambda name, data: (name, bytes(50_000_000) if name.endswith("data/0") else data),
            zipfile.ZIP_DEFLATED,
        ),
        r"uncompressed entries.*packed from",
    ),
    "overlapping-entries": (overlapping(), r"entries that overlap"),
    "traversal": (repacked(lambda n, d: ("../../" + n, d)), r"names that stay inside"),
    "absolute": (repacked(lambda n, d: ("/etc/" + n, d)), r"'/etc/archive"),
    "backslashes": (repacked(lambda n, d: ("..\\\\" + n, d)), r"stay inside the archive.*\\\\"),
    "two-of-one-name": (doubled(), r"'archive/data.pkl' twice"),
    "password": (encrypted(), r"behind a password"),
    "zip-cut-off": (GOOD[: len(GOOD) // 2], r"a complete zip archive.*ends early"),
    "zip-before-the-start": (before_the_start(), r"ends early or is damaged"),
    "zip-without-weights": (archive(readme=b"hello"), r"a zip archive without PyTorch weights"),
    "zip-of-nothing": (archive(), r"a zip archive without PyTorch weights"),
    "legacy-cut-off": (legacy(weights())[:-20], r"cannot be read"),
    "legacy-cut-in-pickle": (legacy(weights())[:300], r"breaks off"),
    "torchscript": (scripted(), r"TorchScript archive, which is a program"),
    "torch-export": (exported(), r"torch\.export archive"),
    "tar": (tarred(), r"a tar archive"),
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x031.0:\x00", r"ONNX file"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(100), r"HDF5"),
    "gguf": (b"GGUF\x03\x00\x00\x00", r"GGUF"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(40), r"TensorFlow Lite"),
    "gzip": (b"\x1f\x8b\x08" + bytes(30), r"a compressed file"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(100), r"a NumPy array"),
    "npz": (archive(x_DOT_npy=b"\x93NUMPY"), r"an \.npz of arrays"),
    "web-page": (b"\n <!DOCTYPE html><html><title>Quota exceeded</title>", r"a web page"),
    "lfs-pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        r"Git LFS pointer.*\n.*git lfs pull",
    ),
    "json": (b'{"architectures": ["ViT"]}', r"a JSON text"),
    "python": (b"import torch\ndef make(): ...\n", r"Python source"),
    "text": (b"weights follow tomorrow", r"a text"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(30), r"a picture"),
    "noise": (bytes(range(200, 256)) * 20, r"bytes of no known form"),
    "empty": (b"", r"an empty file"),
    "safetensors-giant-header": (
        struct.pack("<Q", 2**60) + b'{"a":1}',
        r"header of at most 100,000,000 bytes",
    ),
    "safetensors-cut-in-header": (ST[:60], r"ends inside its header"),
    "safetensors-cut-in-data": (ST[:-8], r"cannot be read"),
    "safetensors-overlap": (
        safetensors({"a": tensor_row(0, 8, [2]), "b": tensor_row(4, 12, [2])}, bytes(12)),
        r"cannot be read",
    ),
    "safetensors-wrong-shape": (
        safetensors({"a": tensor_row(0, 8, [2**40, 2**40])}, bytes(8)),
        r"cannot be read",
    ),
    "safetensors-no-json": (safetensors(b"{not json at all}"), r"cannot be read"),
    "safetensors-nan": (as_safetensors(nan_weights()), r"NaN in 1 of 2 tensors.*1\.weight"),
    "zip-nan": (torch_zip(nan_weights()), r"NaN in 1 of 2 tensors"),
    "nothing-but-numbers": (torch_zip({"epoch": 3, "loss": 0.5}), r"a state dict.*epoch, loss"),
    "one-tensor": (torch_zip(torch.zeros(3)), r"a state dict.*Tensor"),
    "sparse": (strange_tensor(), r"sparse or quantised"),
    "endless-tensor": (
        torch_zip({**weights(), "more": torch.zeros(1).expand(2**30, 2**30)}),
        r"1 not in the model: more",
    ),
    "endless-weight": (
        torch_zip({**weights(), "1.bias": torch.zeros(1).expand(2**30, 2**30)}),
        r"1\.bias is \[1073741824, 1073741824\] in the file",
    ),
    "other-network": (
        torch_zip({"fc.weight": torch.zeros(2, 2)}),
        r"2 missing: 1\.weight, 1\.bias; 1 not in the model: fc\.weight",
    ),
}

# Data sets, read with `open_samples`.
X, Y = np.zeros((3, 1, 4, 4), np.uint8), np.array([0, 1, 2])


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def lying_npz() -> bytes:
    """An array whose header promises far more than there is."""
    stream = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**20, 3, 2**10, 2**10)}
    np.lib.format.write_array_header_1_0(stream, header)
    return archive(x_DOT_npy=stream.getvalue() + bytes(10), y_DOT_npy=stream.getvalue())


def with_value(value: float) -> np.ndarray:
    x = np.full((3, 1, 4, 4), 0.5, np.float32)
    x[1, 0, 2, 2] = value
    return x


BAD_DATA: dict[str, tuple[bytes, str]] = {
    "pickled-array": (
        npz(x=np.array([Runs(os.system, TOUCH)], dtype=object), y=Y),
        r"x\.npy .* pickled objects, which would run code",
    ),
    "pickled-classes": (
        npz(x=X, y=Y, classes=np.array([Runs(os.system, TOUCH)], dtype=object)),
        r"classes\.npy .* pickled objects",
    ),
    "lying-header": (lying_npz(), r"bytes of data in x\.npy, as its header says"),
    "no-labels": (npz(x=X), r"an \.npz with x .* and y .*, got .* with x"),
    "other-names": (npz(images=X, labels=Y), r"with images, labels"),
    "lengths-differ": (npz(x=X, y=Y[:2]), r"3 pictures, 2 labels"),
    "negative-label": (npz(x=X, y=np.array([0, -1, 2])), r"-1 as label of sample 1"),
    "float-labels": (npz(x=X, y=Y.astype(np.float32)), r"integer class labels.*float32"),
    "one-hot": (npz(x=X, y=np.eye(3, dtype=np.int64)), r"of shape \[3, 3\]"),
    "nan-pixel": (npz(x=with_value(np.nan), y=Y), r"NaN in 1 of 3 pictures"),
    "infinite-pixel": (npz(x=with_value(np.inf), y=Y), r"floats from 0\.5 to inf"),
    "normalised": (npz(x=with_value(-1.8), y=Y), r"floats from -1\.8.*\n.*normalisation"),
    "bytes-as-floats": (npz(x=with_value(255.0), y=Y), r"to 255\n.*divide by 255"),
    "int64-pixels": (npz(x=X.astype(np.int64), y=Y), r"got int64"),
    "strings": (npz(x=np.array(["a", "b", "c"]), y=Y), r"numbers as pictures"),
    "rank-2": (npz(x=np.zeros((3, 16), np.uint8), y=Y), r"shape \[3, 16\]"),
    "no-samples": (npz(x=X[:0], y=Y[:0]), r"shape \[0, 1, 4, 4\]"),
    "cut-off": (npz(x=X, y=Y)[:-30], r"a complete zip archive"),
    "no-zip": (b"x,y\n1,2\n", r"is no zip archive"),
    "empty": (b"", r"is empty"),
    "broken-array-header": (archive(x_DOT_npy=b"nonsense", y_DOT_npy=b""), r"broken header"),
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
