"""What a person may write for the quantisation that a model shall have, and which kind of files that means."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.weights.checkpoint_quantization import SCHEMES, Scheme
from ansible_collections.llmhost.core.plugins.module_utils.weights.gguf_mix import BASES

GGUF, SAFETENSORS = "gguf", "safetensors"

_GGUF_SYNONYMS = {
    "FP16": "F16", "FP32": "F32", "Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE",
    "Q8": "Q8_0",
}  # fmt: skip
# Mixes whose publishers keep the embedding and the output matrix in eight bits.
_EIGHT_BIT_ENDS = {
    "Q2_K_L": "Q2_K", "Q3_K_XL": "Q3_K_L", "Q4_K_L": "Q4_K_M", "Q5_K_L": "Q5_K_M", "Q6_K_L": "Q6_K",
}  # fmt: skip
_CHECKPOINT_SYNONYMS = {
    "BNB": "BNB_4BIT", "BITSANDBYTES": "BNB_4BIT", "NF4": "BNB_4BIT", "BNB_INT8": "BNB_8BIT", "GPTQ_4BIT": "GPTQ",
    "GPTQ_8BIT": "GPTQ_INT8", "AWQ_INT4": "AWQ", "AWQ_4BIT": "AWQ", "INT8_W8A8": "W8A8", "FLOAT16": "FP16",
    "BFLOAT16": "BF16", "FLOAT32": "FP32", "FP8_PER_TENSOR": "FP8_TENSOR", "INT4_W4A16": "W4A16",
}  # fmt: skip
# In both worlds: files of a checkpoint unless somebody says that GGUF is meant.
_RATHER_CHECKPOINT = {"BF16", "FP16", "FP32", "MXFP4", "NVFP4"}
_GROUP = re.compile(r"(.+?)_G(?:ROUP|S)?_?(\d{2,4})")


@dataclass(frozen=True)
class Target:
    """A quantisation: ``name`` is a file type of ``gguf_mix.BASES`` or a format of ``checkpoint_quantization``."""

    form: str
    name: str
    eight_bit_ends: bool = False
    group: int = 0  # weights that share a scale, where it is not what the format usually has

    @property
    def scheme(self) -> Scheme:
        """Return how a checkpoint of this format stores a matrix."""
        scheme = SCHEMES[self.name]
        return replace(scheme, group=self.group) if self.group else scheme

    @classmethod
    def from_text(cls, text: str, form: str | None = None) -> Target:
        """Read what a person wrote (``AWQ-G64`` for another size of groups).

        ``form`` says which files are meant where both have the name.

        Raise ModelError (``model.quantization_not_found``) for a name that nobody knows. Mixes of a publisher's own
        (``UD-Q4_K_XL``) are among them: only their files say what is in them.
        """
        name = text.strip().upper().replace("-", "_").replace(" ", "_")
        found = [target for target in (cls._gguf(name), cls._checkpoint(name)) if target]
        wanted = [target for target in found if form is None or target.form == form]
        if not wanted:
            raise _unknown(text, form)
        rather = SAFETENSORS if name in _RATHER_CHECKPOINT else GGUF
        return next((target for target in wanted if target.form == rather), wanted[0])

    @classmethod
    def _gguf(cls, name: str) -> Target | None:
        name = _GGUF_SYNONYMS.get(name, name)
        plain = _EIGHT_BIT_ENDS.get(name, name)
        return cls(GGUF, plain, plain != name) if plain in BASES else None

    @classmethod
    def _checkpoint(cls, name: str) -> Target | None:
        grouped = _GROUP.fullmatch(name)
        if grouped:
            plain = cls._checkpoint(grouped[1])
            return replace(plain, group=int(grouped[2])) if plain and SCHEMES[plain.name].group else None
        name = _CHECKPOINT_SYNONYMS.get(name, name)
        return cls(SAFETENSORS, name) if name in SCHEMES else None


def form_of(text: str) -> str:
    """Return ``gguf`` or ``safetensors`` for what a person wrote; raise ModelError for a name that nobody knows."""
    return Target.from_text(text).form


def known_targets(form: str | None = None) -> tuple[str, ...]:
    """Return the names that are known, for messages and documentation."""
    gguf = () if form == SAFETENSORS else (*BASES, *_EIGHT_BIT_ENDS)
    checkpoint = () if form == GGUF else tuple(SCHEMES)
    return tuple(sorted({*gguf, *checkpoint}))


def _unknown(text: str, form: str | None) -> ModelError:
    kind = "" if form is None else " for GGUF files" if form == GGUF else " for a checkpoint"
    message = f"the size of a model quantised as {text[:40]!r} cannot be computed{kind}"
    names = ", ".join(known_targets(form))
    return ModelError("model.quantization_not_found", message, f"Name a file that exists, or one of {names}.")
