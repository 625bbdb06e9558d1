"""Find the model in a folder, on a hub or on the target, and read what its headers say."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Protocol, TypeVar

from ansible_collections.llmhost.core.plugins.module_utils.model.byte_source import MIB, ByteSource, LocalFile
from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import GgufHeader
from ansible_collections.llmhost.core.plugins.module_utils.model.hub import Hub, Repository
from ansible_collections.llmhost.core.plugins.module_utils.model.model import Model, ModelFile, Projector, Variant
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model.model_reference import CONFIGS, ModelReference
from ansible_collections.llmhost.core.plugins.module_utils.model.quantization import (
    GgufGroup,
    bits_range,
    choose_group,
    complete_groups,
    gguf_groups,
    projector_files,
)
from ansible_collections.llmhost.core.plugins.module_utils.model.safetensors import (
    MAX_JSON,
    SafetensorsHeader,
    read_json_object,
    weight_files,
)

CHECKPOINT = "safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
COMPANIONS = (".json", ".jinja", ".tiktoken", "tokenizer.model", "merges.txt", "vocab.txt")
AT_ONCE = 4

H = TypeVar("H")


class Folder(Protocol):
    """Files that lie together."""

    @property
    def where(self) -> str:
        """Return what a person calls the folder."""

    @property
    def names(self) -> Sequence[str]:
        """Return the paths of all files, from the folder."""

    def source(self, name: str) -> ByteSource:
        """Return a file to read parts of."""

    def size(self, name: str) -> int:
        """Return the size of a file as it is listed, without looking into it; 0 if the list does not say."""

    def entry(self, source: ByteSource, name: str) -> ModelFile:
        """Return the file as the plan knows it."""


class HubFolder:
    """A repository of a hub."""

    def __init__(self, hub: Hub, repository: Repository) -> None:
        """Take the list of the files as the hub gives it."""
        self.where = f"{repository.name} on {hub.endpoint}"
        self.names = tuple(repository.files)
        self._hub = hub
        self._repository = repository

    def source(self, name: str) -> ByteSource:
        """Return a file of the repository."""
        return self._hub.file(self._repository, name)

    def size(self, name: str) -> int:
        """Return the size as the hub lists it."""
        return self._repository.files[name].size_bytes or 0

    def entry(self, source: ByteSource, name: str) -> ModelFile:
        """Return the file with the checksums of the hub."""
        listed = self._repository.files[name]
        return ModelFile(name, source.size, listed.sha256, listed.git_oid)


class LocalFolder:
    """A folder on the target."""

    def __init__(self, path: str) -> None:
        """List the files in it, not those in folders below."""
        self.where = path
        try:
            self.names = tuple(sorted(entry.name for entry in os.scandir(path) if entry.is_file()))
        except OSError as error:
            code = "model.not_found" if isinstance(error, FileNotFoundError) else "model.unreadable"
            remedy = "Check the path and its permissions."
            raise ModelError(code, f"{path} cannot be read: {error.strerror}", remedy) from error

    def source(self, name: str) -> ByteSource:
        """Return a file of the folder."""
        return LocalFile(os.path.join(self.where, name))

    def size(self, name: str) -> int:
        """Return the size of the file."""
        try:
            return os.path.getsize(os.path.join(self.where, name))
        except OSError:
            return 0

    def entry(self, source: ByteSource, name: str) -> ModelFile:
        """Return the file; its checksum is not known before it is read whole."""
        return ModelFile(name, source.size)


def read_local(reference: ModelReference, variant: str = "") -> Model:
    """Read a model on the target: a GGUF file (with the parts beside it), a folder, or a config.json alone.

    The ``path`` of the answer is the first GGUF file, or the folder of a checkpoint. A path with a target means the
    file of that whole name if there is one. ``variant`` chooses among several models of a folder.
    """
    path, target = reference.path or "", reference.target
    if target and os.path.exists(reference.whole_path):
        path, target = reference.whole_path, ""
    name = os.path.basename(path)
    if os.path.isdir(path):
        model = read_folder(LocalFolder(path), variant or target or None)
        model = replace(model, pinned=model.pinned or bool(variant or target))
        in_file = model.format == "gguf" and not model.planned_only
        return replace(model, path=os.path.join(path, model.files[0].name) if in_file else path)
    folder = LocalFolder(os.path.dirname(path))
    if name.endswith(".json"):
        return replace(_read_config(folder, name, target), path=path)
    if target:
        message = f"{path}:{target} does not exist"
        raise ModelError("model.not_found", message, "Name a file, or a config.json with a quantisation.")
    if name.endswith(PICKLES):
        raise _pickled(path)
    if name.endswith(".safetensors"):
        return replace(read_folder(folder, CHECKPOINT), path=folder.where, pinned=True)
    groups = [group for group in gguf_groups(folder.names) if name in group.files]
    group = groups[0].complete(folder.where) if groups else GgufGroup("", (name,))
    model = replace(_read_gguf(folder, group), projectors=_projectors(folder), pinned=True)
    return replace(model, path=os.path.join(folder.where, group.files[0]))


def read_hub(hub: Hub, reference: ModelReference, revision: str, variant: str = "") -> Model:
    """Read a model in a repository of a hub; ``variant`` chooses where the reference leaves a choice."""
    repository = hub.repository(reference.repo or "", revision)
    folder = HubFolder(hub, repository)
    if reference.selector in CONFIGS:
        model = _read_config(folder, reference.selector, reference.target)
    else:
        selector = reference.selector or variant or None
        model = read_folder(folder, selector)
        model = replace(model, pinned=model.pinned or selector is not None)
    return replace(
        model,
        repo=repository.name,
        commit=repository.commit,
        gated=repository.gated,
        private=repository.private,
        license=repository.license or model.license,
    )


def read_folder(folder: Folder, selector: str | None) -> Model:
    """Read the model that is meant by a quantisation, a file name or nothing: GGUF first, else a checkpoint.

    A folder with nothing but a config.json is planned for; there ``selector`` is the quantisation to plan with.
    """
    groups = gguf_groups(folder.names)
    weights = [name for name in folder.names if name.endswith(".safetensors") and "/" not in name]
    if selector == CHECKPOINT or (weights and not groups and selector is None):
        return _read_checkpoint(folder, weights)
    if groups:
        sizes = {name: folder.size(name) for group in groups for name in group.files}
        chosen = choose_group(groups, selector, folder.where, sizes)
        model = _read_gguf(folder, chosen)
        variants = _variants(groups, sizes, chosen, model.weights.parameters)
        return replace(model, variants=variants, projectors=_projectors(folder))
    if weights:
        message = f"{folder.where} has no {selector}: it has no GGUF files, only a checkpoint in safetensors"
        remedy = f"Choose a repository with GGUF files; to see what it would need, plan for config.json:{selector}."
        raise ModelError("model.quantization_not_found", message, remedy)
    if any(name.endswith(PICKLES) for name in folder.names):
        raise _pickled(folder.where)
    config = next((name for name in CONFIGS if name in folder.names), None)
    if config:
        return _read_config(folder, config, selector or "")
    message = f"{folder.where} has no model: neither GGUF nor safetensors files"
    raise ModelError("model.no_weights", message, "Choose another one.")


def _variants(
    groups: Sequence[GgufGroup], sizes: Mapping[str, int], chosen: GgufGroup, parameters: int
) -> tuple[Variant, ...]:
    """Return every form of the chosen model whose size is known, the smallest first, without a look into the others.

    What lies beside it and has another number of ``parameters``, by its size and name, is another model.
    """

    def size(group: GgufGroup) -> int:
        return sum(sizes[name] for name in group.files)

    def same_model(group: GgufGroup) -> bool:
        least, most = bits_range(group.label)
        return group == chosen or least * parameters <= 8 * size(group) <= most * parameters

    found = (
        Variant(group.label or group.files[0], group.files, size(group))
        for group in complete_groups(groups)
        if all(sizes[name] for name in group.files) and same_model(group)
    )
    return tuple(sorted(found, key=lambda variant: (variant.size_bytes, variant.files)))


def _projectors(folder: Folder) -> tuple[Projector, ...]:
    return tuple(Projector(name, folder.size(name)) for name in projector_files(folder.names))


def _read_config(folder: Folder, name: str, target: str) -> Model:
    """Plan with a config.json alone."""
    if name not in folder.names:
        raise ModelError("model.no_config", f"{folder.where} has no {name}", "Choose another one.")
    where, data = f"{name} of {folder.where}", _content(folder, name)
    return Model.from_config(read_json_object(data, where), data, where, target)


def _read_gguf(folder: Folder, group: GgufGroup) -> Model:
    def read(name: str) -> tuple[GgufHeader, ModelFile]:
        source = folder.source(name)
        # Only the first part has the vocabulary; the others begin with little more than a list of tensors.
        first_step = 4 * MIB if name == group.files[0] else MIB // 4
        return GgufHeader.from_source(source, first_step), folder.entry(source, name)

    parts = _read_all(read, group.files)
    return Model.from_gguf([header for header, _ in parts], [file for _, file in parts])


def _read_checkpoint(folder: Folder, weights: list[str]) -> Model:
    if "config.json" not in folder.names:
        message = f"{folder.where} has no config.json, so its weights cannot be used on their own"
        raise ModelError("model.no_config", message, "Choose a repository with a whole model.")
    if INDEX in folder.names:
        weights = weight_files(_content(folder, INDEX), INDEX)
        missing = sorted(set(weights) - set(folder.names))
        if missing:
            raise ModelError("model.incomplete", f"{folder.where} has no {missing[0]}", "Fetch the missing files.")
    elif "model.safetensors" in weights:
        weights = ["model.safetensors"]
    elif len(weights) != 1:
        message = f"{folder.where} has {len(weights)} safetensors files and no {INDEX}"
        raise ModelError("model.incomplete", message, "Choose a repository with a whole model.")

    def read(name: str) -> tuple[SafetensorsHeader, ModelFile]:
        source = folder.source(name)
        return SafetensorsHeader.from_source(source), folder.entry(source, name)

    parts = _read_all(read, weights)
    others = sorted(name for name in folder.names if "/" not in name and name.endswith(COMPANIONS))
    companions = [folder.entry(folder.source(name), name) for name in others]
    config = read_json_object(_content(folder, "config.json"), f"config.json of {folder.where}")
    return Model.from_safetensors(
        config, [header for header, _ in parts], [*(file for _, file in parts), *companions], folder.where,
        _has_chat_template(folder),
    )  # fmt: skip


def _has_chat_template(folder: Folder) -> bool:
    if any(PurePosixPath(name).name.startswith("chat_template.") for name in folder.names):
        return True
    name = "tokenizer_config.json"
    settings: dict[str, Any] = read_json_object(_content(folder, name), name) if name in folder.names else {}
    return bool(settings.get("chat_template"))


def _content(folder: Folder, name: str) -> bytes:
    source = folder.source(name)
    if source.size > MAX_JSON:
        raise ModelError("model.invalid", f"{source.name} has {source.size} bytes", "Choose another model.")
    return source.read(0, source.size)


def _read_all(read: Callable[[str], H], names: Sequence[str]) -> list[H]:
    """Read several headers at once: each one waits for the network, not for this machine."""
    if len(names) == 1:
        return [read(names[0])]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(read, names))


def _pickled(where: str) -> ModelError:
    message = f"{where} has its weights as Python pickles, which run code when they are read"
    return ModelError("model.pickle_only", message, "Choose a model in GGUF or safetensors.")
