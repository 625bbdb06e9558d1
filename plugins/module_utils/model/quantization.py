"""What a file name says about the quantisation of a GGUF model, and which files of a repository make up one model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError

PREFERRED = "Q4_K_M"

LABEL = re.compile(
    r"(?<![a-z0-9])(?:UD-)?"
    r"(?:(?:I?Q|TQ)[1-8](?:_(?:K|[0-9]|XXS|XS|S|M|L|XL|XXL|NL|P))+|MXFP4|NVFP4|BF16|FP?16|FP?32)"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
SPLIT = re.compile(r"-(?P<number>\d{5})-of-(?P<count>\d{5})$")
PROJECTOR = re.compile(r"mmproj", re.IGNORECASE)
NOT_A_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)

# general.file_type of GGUF; 1024 and above mean "guessed".
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4", 40: "Q1_0",
    41: "Q2_0",
}  # fmt: skip


@dataclass(frozen=True)
class GgufGroup:
    """The files that make up one GGUF model: one, or all parts of a split one."""

    label: str  # "" if the name does not say
    files: tuple[str, ...]

    @property
    def parts(self) -> int:
        """Return how many files a split model has, by their names; 0 for one that is not split."""
        split = SPLIT.search(PurePosixPath(self.files[0]).stem)
        return int(split["count"]) if split else 0

    def complete(self, where: str) -> GgufGroup:
        """Return this group; raise ModelError if a part of a split model is missing."""
        if self.parts and len(self.files) != self.parts:
            message = f"{where} has {len(self.files)} of the {self.parts} parts of {self.files[0]}"
            raise ModelError("model.incomplete", message, "Fetch the missing parts, or choose another quantisation.")
        return self

    def is_called(self, wanted: str) -> bool:
        """Say whether a person who types ``wanted`` may mean this one."""
        return bool(self.label) and same_label(self.label, wanted)


def label_of(file: str) -> str:
    """Return the quantisation in a file's name, else in that of its folder, in capitals; "" if there is none."""
    path = PurePosixPath(file)
    for part in (path.name, *reversed(path.parent.parts)):
        found = LABEL.findall(part)
        if found:
            return normal_label(found[-1])
    return ""


def normal_label(label: str) -> str:
    """Return the label in capitals and in its usual spelling."""
    label = label.upper()
    return {"FP16": "F16", "FP32": "F32", "MXFP4_MOE": "MXFP4"}.get(label, label)


def bits_range(label: str) -> tuple[float, float]:
    """Return between how many bits a parameter of a model so called takes, all its tensors together.

    A small model keeps much of itself in more bits than its name says, a large one never in fewer than most of them.
    """
    digits = re.search(r"\d+", label.upper().removeprefix("UD-"))
    bits = int(digits[0]) if digits else 0
    return (0.8 * bits, bits + 3.5) if 0 < bits <= 32 else (1.0, 36.0)


def same_label(label: str, wanted: str) -> bool:
    """Say whether two spellings mean the same quantisation."""
    return normal_label(label) == normal_label(wanted)


def gguf_groups(files: Iterable[str]) -> list[GgufGroup]:
    """Return the models among the files of a repository, each with all its parts; projectors and the like are none."""
    groups: dict[str, list[str]] = {}
    for file in sorted(files):
        path = PurePosixPath(file)
        if path.suffix.lower() == ".gguf" and not NOT_A_MODEL.search(path.name):
            split = SPLIT.search(path.stem)
            whole = SPLIT.sub(f" of {split['count']}", path.stem) if split else path.stem
            groups.setdefault(f"{path.parent}/{whole}", []).append(file)
    return [GgufGroup(label_of(parts[0]), tuple(parts)) for parts in groups.values()]


def projector_files(files: Iterable[str]) -> list[str]:
    """Return the projectors among the files of a repository."""
    paths = (PurePosixPath(file) for file in sorted(files))
    return [str(path) for path in paths if path.suffix.lower() == ".gguf" and PROJECTOR.search(path.name)]


def complete_groups(groups: Iterable[GgufGroup]) -> list[GgufGroup]:
    """Return those of which no part is missing."""
    return [group for group in groups if group.parts in (0, len(group.files))]


def choose_group(
    groups: list[GgufGroup], wanted: str | None, where: str, sizes: Mapping[str, int] | None = None
) -> GgufGroup:
    """Return the model that is wanted, by file name or by quantisation; without either, one to know the others by.

    That is the usual quantisation, else the one of middle size (``sizes`` by file; the first where none is known).
    """
    if not groups:
        raise ModelError("model.no_gguf", f"{where} has no GGUF file of a model", "Choose a repository that has one.")
    if wanted is None:
        matches = groups if len(groups) == 1 else [group for group in groups if group.is_called(PREFERRED)]
        if not matches:
            return _middle(groups, sizes or {}).complete(where)
    elif wanted.lower().endswith(".gguf"):
        matches = [group for group in groups if wanted in group.files]
    else:
        matches = [group for group in groups if group.is_called(wanted)]
        matches = matches or [group for group in groups if group.is_called(f"UD-{wanted}")]
    if len(matches) == 1:
        return matches[0].complete(where)
    listed = ", ".join(sorted({group.label or group.files[0] for group in groups}))
    if matches:
        names = ", ".join(group.files[0] for group in matches)
        raise ModelError(
            "model.ambiguous",
            f"{where} has several models that are called {matches[0].label}: {names}",
            "Name the file.",
        )
    message = f"{where} has no {wanted}; it has {listed}"
    raise ModelError("model.quantization_not_found", message, "Name one of these.")


def _middle(groups: list[GgufGroup], sizes: Mapping[str, int]) -> GgufGroup:
    whole = complete_groups(groups) or groups
    ordered = sorted(whole, key=lambda group: sum(sizes.get(file, 0) for file in group.files))
    return ordered[(len(ordered) - 1) // 2]
