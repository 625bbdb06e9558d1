"""A model: its files, its weights and its shape, in the form that the plan reads."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.architecture import Architecture
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, warning
from ansible_collections.llmhost.core.plugins.module_utils.gguf import GgufHeader, Tensor
from ansible_collections.llmhost.core.plugins.module_utils.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.quantization import FILE_TYPES, label_of, same_label
from ansible_collections.llmhost.core.plugins.module_utils.safetensors import SafetensorsHeader, StoredTensor

SCHEMA = 1

INPUT_NAMES = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "tok_embeddings.weight")
OUTPUT_NAMES = ("lm_head.weight", "embed_out.weight")
# Stored beside the packed weights of a quantised checkpoint, and no parameters themselves.
SIDE_TENSORS = (
    "scales",
    "scale",
    "scale_inv",
    "zeros",
    "qzeros",
    "g_idx",
    "zero_point",
    "absmax",
    "quant_map",
    "shape",
)
PACKED_DTYPES = {"I8": 8, "U8": 8, "I32": 32, "I64": 64}


@dataclass(frozen=True)
class ModelFile:
    """One file of a model, with the checksums that its source knows."""

    name: str
    size_bytes: int
    sha256: str | None = None
    git_oid: str | None = None


@dataclass(frozen=True)
class Weights:
    """How many bytes the tensors take, and of which kind they are."""

    parameters: int
    weights_bytes: int
    tensor_types: dict[str, int]
    token_embedding_bytes: int
    output_bytes: int

    @classmethod
    def from_gguf(cls, tensors: Sequence[Tensor]) -> Weights:
        """Sum up the tensors of all files of a GGUF model."""
        by_name = {tensor.name: tensor.size_bytes for tensor in tensors}
        return cls(
            sum(tensor.elements for tensor in tensors),
            sum(by_name.values()),
            _by_type((tensor.type_name, tensor.size_bytes) for tensor in tensors),
            by_name.get("token_embd.weight", 0),
            by_name.get("output.weight", 0),
        )

    @classmethod
    def from_safetensors(cls, tensors: Sequence[StoredTensor], bits: int | None) -> Weights:
        """Sum up the tensors of a checkpoint; ``bits`` is what a parameter takes if several are packed in a number."""
        return cls(
            sum(_parameters(tensor, bits) for tensor in tensors),
            sum(tensor.size_bytes for tensor in tensors),
            _by_type((tensor.dtype, tensor.size_bytes) for tensor in tensors),
            sum(tensor.size_bytes for tensor in tensors if tensor.name.endswith(INPUT_NAMES)),
            sum(tensor.size_bytes for tensor in tensors if tensor.name.endswith(OUTPUT_NAMES)),
        )


@dataclass(frozen=True)
class Model:
    """Everything that is known of a model before a byte of its weights is read."""

    format: str
    quantization: str
    name: str | None
    architecture: Architecture
    weights: Weights
    files: tuple[ModelFile, ...]
    chat_template: bool
    header_digest: str
    license: str | None
    findings: tuple[Finding, ...] = ()
    repo: str | None = None
    commit: str | None = None
    path: str | None = None
    gated: str | bool = False
    private: bool = False

    @classmethod
    def from_gguf(cls, headers: Sequence[GgufHeader], files: Sequence[ModelFile]) -> Model:
        """Read a GGUF model from the headers of all its files, the first one first."""
        first = headers[0]
        _ensure_model(first)
        tensors = [tensor for header in headers for tensor in header.tensors]
        _ensure_whole(headers, tensors)
        quantization, findings = _quantization(first, files[0].name)
        unknown = sorted({tensor.type_name for tensor in tensors if not tensor.known_type})
        architecture = Architecture.from_gguf(first)
        if unknown:
            text = f"{first.name} has tensors of unknown types ({', '.join(unknown)})"
            findings.append(warning("model.tensor_type", text, "Make sure that the runtime can read them."))
            architecture = replace(architecture, unsupported=(*architecture.unsupported, "tensor_type"))
        metadata = first.metadata
        return cls(
            format="gguf",
            quantization=quantization,
            name=_text(metadata.get("general.name")),
            architecture=architecture,
            weights=Weights.from_gguf(tensors),
            files=tuple(files),
            chat_template=any(key.startswith("tokenizer.chat_template") for key in metadata),
            header_digest=_digest((header.data, header.file_size) for header in headers),
            license=_text(metadata.get("general.license")),
            findings=tuple(findings),
        )

    @classmethod
    def from_safetensors(
        cls,
        config: Mapping[str, Any],
        headers: Sequence[SafetensorsHeader],
        files: Sequence[ModelFile],
        where: str,
        chat_template: bool,
    ) -> Model:
        """Read a checkpoint from its ``config.json`` and the headers of all its weight files."""
        settings = config.get("quantization_config")
        quantized: Mapping[str, Any] = settings if isinstance(settings, dict) else {}
        bits = quantized.get("bits")
        tensors = [tensor for header in headers for tensor in header.tensors]
        if not tensors:
            raise ModelError("model.invalid", f"{where} has no tensors", "Choose another model.")
        weights = Weights.from_safetensors(tensors, bits if type(bits) is int and 0 < bits <= 32 else None)
        method = _text(quantized.get("quant_method"))
        return cls(
            format="safetensors",
            quantization=(method or max(weights.tensor_types, key=lambda name: weights.tensor_types[name])).upper(),
            name=_text(config.get("_name_or_path")),
            architecture=Architecture.from_config(config, where),
            weights=weights,
            files=tuple(files),
            chat_template=chat_template,
            header_digest=_digest((header.data, header.file_size) for header in headers),
            license=None,
        )

    def as_dict(self, request: Mapping[str, str]) -> dict[str, Any]:
        """Return the documented form (see the return values of the module ``model_info``)."""
        shape = asdict(self.architecture)
        return {
            "schema": SCHEMA,
            "request": dict(request),
            "source": "hub" if self.repo else "local",
            "repo": self.repo,
            "commit": self.commit or self.header_digest[:40],
            "path": self.path,
            "format": self.format,
            "quantization": self.quantization,
            "architecture": shape.pop("name"),
            "name": self.name,
            **asdict(self.weights),
            "tied_embeddings": self.weights.output_bytes == 0,
            "total_bytes": sum(file.size_bytes for file in self.files),
            "largest_file_bytes": max(file.size_bytes for file in self.files),
            "files": [asdict(file) for file in self.files],
            **shape,
            "unsupported": list(self.architecture.unsupported),
            "chat_template": self.chat_template,
            "license": self.license,
            "gated": self.gated,
            "private": self.private,
            "findings": [finding.as_dict() for finding in self.findings],
        }


def _ensure_model(header: GgufHeader) -> None:
    """Refuse the other things that the GGUF format is used for."""
    kind = header.metadata.get("general.type", "model")
    architecture = header.metadata.get("general.architecture")
    if kind != "model" or architecture == "clip":
        what = "a projector" if architecture == "clip" else f"of the type {kind!r}"
        raise ModelError("model.not_a_model", f"{header.name} is {what}, not a language model", "Name another file.")


def _ensure_whole(headers: Sequence[GgufHeader], tensors: Sequence[Tensor]) -> None:
    """Make sure that all parts of a split model are there, once each."""
    where, count = headers[0].name, headers[0].metadata.get("split.count", 1)
    if count not in (0, len(headers)):
        message = f"{where} is the first of {count} files, and {len(headers)} can be found"
        raise ModelError("model.incomplete", message, "Fetch the others, and keep the names that they had.")
    if not tensors:
        raise ModelError("model.invalid", f"{where} has no tensors", "Choose another file.")
    promised = headers[0].metadata.get("split.tensors.count", len(tensors))
    if promised != len(tensors) or len({tensor.name for tensor in tensors}) < len(tensors):
        message = f"the files of {where} do not belong together"
        raise ModelError("model.invalid", message, "Fetch all of them again.")


def _quantization(header: GgufHeader, file: str) -> tuple[str, list[Finding]]:
    """Return what the quantisation is called: by the file's name, unless its header is sure of something else."""
    label = label_of(file)
    number = header.metadata.get("general.file_type")
    known = FILE_TYPES.get(number) if isinstance(number, int) else None
    if not label:
        return known or _commonest(header), []
    # Mixes of the publisher's own (UD-, _XL, _L) have no number, so the header gives the nearest one.
    if known is None or label not in FILE_TYPES.values() or same_label(label, known):
        return label, []
    text = f"{header.name} is called {label}, but its header says {known}"
    return known, [warning("model.quantization", text, "Make sure that this is the file you want.")]


def _commonest(header: GgufHeader) -> str:
    types = _by_type((tensor.type_name, tensor.size_bytes) for tensor in header.tensors)
    return max(types, key=lambda name: types[name], default="")


def _by_type(tensors: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for name, size_bytes in tensors:
        sums[name] += size_bytes
    return dict(sorted(sums.items()))


def _parameters(tensor: StoredTensor, bits: int | None) -> int:
    if tensor.name.rpartition(".")[2].endswith(SIDE_TENSORS):
        return 0
    width = PACKED_DTYPES.get(tensor.dtype)
    return tensor.elements * width // bits if width and bits else tensor.elements


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _digest(parts: Iterable[tuple[bytes, int]]) -> str:
    """Return a checksum over the headers and the sizes: it tells files apart without reading them whole."""
    digest = hashlib.sha256()
    for data, size in parts:
        digest.update(data)
        digest.update(size.to_bytes(8, "little"))
    return digest.hexdigest()
