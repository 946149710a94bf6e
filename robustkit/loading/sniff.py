"""What a file is, by its bytes; its extension is never asked."""

import io
import tarfile
from pathlib import Path
from typing import Literal

from robustkit.errors import RefusedError, ToolError, UserError
from robustkit.loading.limits import MAX_HEADER, open_zip
from robustkit.loading.pickle_machine import walk

Form = Literal[
    "safetensors",
    "torch zip",
    "torch legacy",
    "pickle",
    "torchscript",
    "torch.export",
    "npz",
    "zip",
    "tar",
    "onnx",
    "hdf5",
    "gguf",
    "tflite",
    "numpy",
    "compressed",
    "html",
    "lfs pointer",
    "json",
    "python",
    "text",
    "picture",
    "empty",
    "folder",
    "unknown",
]

PICKLES: tuple[Form, ...] = ("torch zip", "torch legacy", "pickle")
"""The forms that are read by unpickling."""

LEGACY_MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"
"""The pickled number at the start of what `torch.save` wrote before PyTorch 1.6."""

_STARTS: tuple[tuple[bytes, Form], ...] = (
    (LEGACY_MAGIC, "torch legacy"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"GGUF", "gguf"),
    (b"\x93NUMPY", "numpy"),
    (b"\x1f\x8b", "compressed"),
    (b"BZh", "compressed"),
    (b"\xfd7zXZ\x00", "compressed"),
    (b"7z\xbc\xaf\x27\x1c", "compressed"),
    (b"\x28\xb5\x2f\xfd", "compressed"),
    (b"Rar!", "compressed"),
    (b"version https://git-lfs", "lfs pointer"),
    (b"\x89PNG", "picture"),
    (b"\xff\xd8\xff", "picture"),
    (b"GIF8", "picture"),
    *((bytes([0x80, protocol]), "pickle") for protocol in range(6)),
)

_RESAVE = (
    "where it is trusted, load it and save the weights alone: torch.save(model.state_dict(), path) "
    "or safetensors.torch.save_file(model.state_dict(), path); then give --arch pkg.mod:factory"
)

_REFUSALS: dict[Form, tuple[str, str]] = {
    "torchscript": (
        "a TorchScript archive, which is a program",
        f"{_RESAVE}; or let it run, this once: --allow-torchscript",
    ),
    "torch.export": (
        "a torch.export archive (.pt2), whose reader runs pickled code",
        f"{_RESAVE}; or let it run, this once: --allow-pt2",
    ),
    "npz": ("an .npz of arrays", "give it as --data, or save the weights as safetensors"),
    "zip": ("a zip archive without PyTorch weights in it", "unpack it and give the file inside"),
    "tar": ("a tar archive, as PyTorch wrote before 0.4 or as a tool packed it", _RESAVE),
    "onnx": (
        "an ONNX file, which is a network by itself",
        "give it alone, without --arch",
    ),
    "hdf5": ("an HDF5 file, as Keras writes", "convert the weights to PyTorch"),
    "gguf": ("a GGUF file", "give the PyTorch or safetensors weights it was made from"),
    "tflite": ("a TensorFlow Lite file", "convert the weights to PyTorch"),
    "numpy": ("a NumPy array", "save the weights as a state dict, by name"),
    "compressed": ("a compressed file", "unpack it first and give what is inside"),
    "html": (
        "a web page: the download got a log-in, quota or error page instead of the file",
        "download it again in a browser or with the host's own tool, and look at its size",
    ),
    "lfs pointer": (
        "a Git LFS pointer: the weights themselves were not fetched",
        "run: git lfs pull",
    ),
    "json": (
        "a JSON text, such as a config or an index of shards",
        "give the weights themselves; for a Hugging Face folder write hf:./FOLDER",
    ),
    "python": ("Python source", "name a factory in it: py:FILE.py:factory"),
    "text": ("a text", "give the weights themselves"),
    "picture": ("a picture", "give the model first, the picture where one is asked for"),
    "empty": ("an empty file: the copy or download never happened", "download it again"),
    "folder": (
        "a folder",
        "give the file with the weights in it; for a Hugging Face folder write hf:./FOLDER",
    ),
    "unknown": ("bytes of no known form: cut off at the start, encrypted or damaged", _RESAVE),
}


def sniff(path: Path) -> Form:
    """The form of the file at `path`, from its first bytes and, for a zip, its table of contents.

    Raises UserError where there is nothing, RefusedError for a zip that is damaged or hostile.
    """
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise UserError("a file with weights", f"{str(path)!r}, where there is nothing", "check it")
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            head = file.read(65536)
    except OSError as error:
        raise ToolError(
            "a file that can be read", f"{path} ({error.strerror})", "check its permissions"
        ) from None
    if not head:
        return "empty"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip_form(path)
    # Before the pickles: a header's length may well begin like one.
    if head[8:9] == b"{":
        return _safetensors_form(head, size, path)
    for start, form in _STARTS:
        if head.startswith(start):
            return form
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[257:262] == b"ustar" or _is_tar(path):
        return "tar"
    return _text_form(head)


def refuse_form(form: Form, path: Path) -> RefusedError:
    """The error for a form that holds no weights that may be loaded."""
    got, fix = _REFUSALS[form]
    return RefusedError(
        "weights as safetensors or as a PyTorch state dict", f"{path.name}, {got}", fix
    )


def _safetensors_form(head: bytes, size: int, path: Path) -> Form:
    header = int.from_bytes(head[:8], "little")
    if header > MAX_HEADER and head[0] == 0x80 and head[1] < 6:
        return "pickle"  # one with a brace in its ninth byte
    if header > MAX_HEADER:
        raise RefusedError(
            f"a safetensors header of at most {MAX_HEADER:,} bytes",
            f"{header:,} in {path.name}",
            "do not use this file: its first eight bytes are damaged or made up",
        )
    if header + 8 > size:
        raise RefusedError(
            f"a safetensors file of more than {header + 8:,} bytes, as its first bytes say",
            f"{size:,} in {path.name}",
            "copy or download it again: it ends inside its header",
        )
    return "safetensors"


def _zip_form(path: Path) -> Form:
    with open_zip(path) as archive:
        names = archive.namelist()
    inside = {name.partition("/")[2] or name for name in names}
    if "archive_format" in inside or "models/model.json" in inside:
        return "torch.export"
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        return "torchscript"
    if any(name.endswith("data.pkl") for name in names):
        return "torch zip"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except (OSError, EOFError, ValueError):
        return False


def _text_form(head: bytes) -> Form:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")):
        return "html"
    if start.startswith((b"{", b"[")):
        return "json"
    # Protocol 0 has no header of its own: it is one if it can be walked, or makes calls.
    found = walk(io.BytesIO(head))
    if not found.trouble or (found.imports and found.calls):
        return "pickle"
    if head[0] == 0x08 and head[1:2] and head[1] < 0x20 and head[2:3] in (b"\x12", b"\x3a"):
        return "onnx"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return "unknown"
    if "\0" in text:
        return "unknown"
    lines = text.splitlines()
    return "python" if any(ln.startswith(("import ", "from ", "def ")) for ln in lines) else "text"
