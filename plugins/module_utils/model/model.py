"""A model: its files, its weights and its shape, in the form that the plan reads."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, warning
from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import GgufHeader, Tensor
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.quantization import (
    FILE_TYPES,
    label_of,
    normal_label,
    same_label,
)
from ansible_collections.llmhost.core.plugins.module_utils.model.safetensors import SafetensorsHeader
from ansible_collections.llmhost.core.plugins.module_utils.shape.config_shape import shape_from_config
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_shape import shape_from_gguf
from ansible_collections.llmhost.core.plugins.module_utils.shape.shape import Shape
from ansible_collections.llmhost.core.plugins.module_utils.weights.config_quantization import target_of_config
from ansible_collections.llmhost.core.plugins.module_utils.weights.quantization_target import form_of
from ansible_collections.llmhost.core.plugins.module_utils.weights.tensor_groups import (
    weights_from_gguf,
    weights_from_safetensors,
)
from ansible_collections.llmhost.core.plugins.module_utils.weights.vision import tower_from_config, with_tower
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights import Weights
from ansible_collections.llmhost.core.plugins.module_utils.weights.weights_from_shape import weights_from_shape

SCHEMA = 2
GGUF, SAFETENSORS = "gguf", "safetensors"


@dataclass(frozen=True)
class ModelFile:
    """One file of a model, with the checksums that its source knows."""

    name: str
    size_bytes: int
    sha256: str | None = None
    git_oid: str | None = None


@dataclass(frozen=True)
class Variant:
    """One model among those that lie together: usually a quantisation."""

    label: str
    files: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class Projector:
    """A file with a tower for pictures or sound that llama.cpp loads beside the model."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Model:
    """Everything that is known of a model before a byte of its weights is read."""

    format: str
    quantization: str
    name: str | None
    shape: Shape
    weights: Weights
    files: tuple[ModelFile, ...]
    chat_template: bool
    header_digest: str
    header_bytes: int
    license: str | None
    tensor_types: Mapping[str, int]
    findings: tuple[Finding, ...] = ()
    planned_only: bool = False
    pinned: bool = False
    variants: tuple[Variant, ...] = ()
    projectors: tuple[Projector, ...] = ()
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
        shape = shape_from_gguf(first.metadata, tensors, first.name)
        unknown = sorted({tensor.type_name for tensor in tensors if not tensor.known_type})
        if unknown:
            text = f"{first.name} has tensors of unknown types ({', '.join(unknown)})"
            findings.append(warning("model.tensor_type", text, "Make sure that the runtime can read them."))
            shape = replace(shape, doubts=(*shape.doubts, f"tensors of unknown types: {', '.join(unknown)}"))
        metadata = first.metadata
        return cls(
            format=GGUF,
            quantization=quantization,
            name=_text(metadata.get("general.name")),
            shape=shape,
            weights=weights_from_gguf(tensors, shape),
            files=tuple(files),
            chat_template=any(key.startswith("tokenizer.chat_template") for key in metadata),
            header_digest=_digest((header.data, header.file_size) for header in headers),
            header_bytes=sum(header.header_bytes for header in headers),
            license=_text(metadata.get("general.license")),
            tensor_types=_by_type((tensor.type_name, tensor.size_bytes) for tensor in tensors),
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
        tensors = [tensor for header in headers for tensor in header.tensors]
        if not tensors:
            raise ModelError("model.invalid", f"{where} has no tensors", "Choose another model.")
        types = _by_type((tensor.dtype, tensor.size_bytes) for tensor in tensors)
        shape = shape_from_config(config, where)
        return cls(
            format=SAFETENSORS,
            quantization=_method(config) or max(types, key=lambda name: types[name]).upper(),
            name=_text(config.get("_name_or_path")),
            shape=shape,
            weights=weights_from_safetensors(tensors, shape, config),
            files=tuple(files),
            chat_template=chat_template,
            header_digest=_digest((header.data, header.file_size) for header in headers),
            header_bytes=sum(len(header.data) for header in headers),
            license=None,
            tensor_types=types,
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], data: bytes, where: str, target: str) -> Model:
        """Compute a model from its ``config.json`` alone, as if it were quantised as ``target``.

        Without a target it is the checkpoint that the config describes. Its one file is what it would be.
        """
        wanted = target or target_of_config(config)
        form = form_of(target) if target else SAFETENSORS
        shape = shape_from_config(config, where, gguf=form == GGUF)
        weights = weights_from_shape(shape, wanted, form)
        tower = tower_from_config(config)
        projectors: tuple[Projector, ...] = ()
        if tower and form == GGUF:  # llama.cpp has it in a file of its own, which it loads beside the model
            weighed = with_tower(weights, tower).projector_bytes
            projectors = (Projector(f"mmproj-{shape.architecture}-F16.gguf", weighed),)
        elif tower:
            weights = with_tower(weights, tower)
            shape = replace(shape, doubts=(*shape.doubts, tower.doubt)) if tower.doubt else shape
        label = normal_label(wanted) if form == GGUF else wanted.upper()
        return cls(
            format=form,
            quantization=label,
            name=_text(config.get("_name_or_path")),
            shape=shape,
            weights=weights,
            files=(ModelFile(f"{shape.architecture}-{label}.{form}", weights.total_bytes),),
            chat_template=False,
            header_digest=_digest([(data, len(data))]),
            header_bytes=len(data),
            license=None,
            tensor_types={label: weights.total_bytes},
            planned_only=True,
            pinned=bool(target),
            projectors=projectors,
        )

    def as_dict(self, request: Mapping[str, str]) -> dict[str, Any]:
        """Return the documented form (see the return values of the module ``model_info``)."""
        return {
            "schema": SCHEMA,
            "request": dict(request),
            "source": "hub" if self.repo else "local",
            "repo": self.repo,
            "commit": self.commit or self.header_digest[:40],
            "path": self.path,
            "format": self.format,
            "quantization": self.quantization,
            "architecture": self.shape.architecture,
            "name": self.name,
            "parameters": self.weights.parameters,
            "weights_bytes": self.weights.total_bytes,
            "total_bytes": sum(file.size_bytes for file in self.files),
            "largest_file_bytes": max(file.size_bytes for file in self.files),
            "header_bytes": self.header_bytes,
            "files": [asdict(file) for file in self.files],
            "tensor_types": dict(self.tensor_types),
            "shape": self.shape.as_dict(),
            "weights": self.weights.as_dict(),
            "pinned": self.pinned,
            "planned_only": self.planned_only,
            "variants": [{**asdict(variant), "files": list(variant.files)} for variant in self.variants],
            "projectors": [asdict(projector) for projector in self.projectors],
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


def _method(config: Mapping[str, Any]) -> str:
    """Return how a checkpoint is quantised, in capitals; nothing if it is not."""
    settings = config.get("quantization_config")
    method = _text(settings.get("quant_method")) if isinstance(settings, dict) else None
    return (method or "").upper()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _digest(parts: Iterable[tuple[bytes | bytearray, int]]) -> str:
    """Return a checksum over the headers and the sizes: it tells files apart without reading them whole."""
    digest = hashlib.sha256()
    for data, size in parts:
        digest.update(data)
        digest.update(size.to_bytes(8, "little"))
    return digest.hexdigest()
