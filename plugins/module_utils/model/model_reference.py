"""What a user types as ``llmhost_model``: a repository on a hub, or a path on the target."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError

REPOSITORY = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
SELECTOR = re.compile(r"[\w.+ /-]{1,512}")
TARGET = re.compile(r"[A-Za-z0-9][\w-]{0,31}", re.ASCII)
CONFIGS = ("config.json", "params.json")
FORMS = (
    "Write org/repo, org/repo:Q4_K_M, org/repo:file.gguf, an absolute path, or file:///path;"
    " for what a model would need if it were quantised so, org/repo:config.json:Q4_K_M or /path/config.json:Q4_K_M."
)


@dataclass(frozen=True)
class ModelReference:
    """Where a model is: ``repo`` on a hub, perhaps with a ``selector`` (quantisation or file), or ``path`` here.

    ``target`` is the quantisation to compute weights for: of a config.json, or of a folder that has nothing else. A
    path may hold colons of its own, so one with a target means the file of that whole name if there is one.
    """

    text: str
    repo: str | None = None
    selector: str | None = None
    path: str | None = None
    target: str = ""

    @classmethod
    def from_text(cls, text: str) -> ModelReference:
        """Read what was typed; raise ModelError if it is of no known form."""
        text = text.strip()
        if text.startswith("file:"):
            host, slash, path = text.removeprefix("file:").removeprefix("//").partition("/")
            if host not in ("", "localhost") or not slash:
                raise _unclear(text, "it is no URL of a file on the target")
            return cls._local(text, unquote(slash + path))
        if text.startswith("/"):
            return cls._local(text, text)
        repo, _, selector = text.partition(":")
        if not REPOSITORY.fullmatch(repo) or ".." in repo or "--" in repo:
            raise _unclear(text, "it is neither a repository nor an absolute path")
        if repo.lower().endswith((".gguf", ".safetensors")):
            raise _unclear(text, "a path must be absolute")
        if text.endswith(":"):
            raise _unclear(text, "nothing follows the colon")
        config, _, target = selector.partition(":")
        if config in CONFIGS:
            if target and not TARGET.fullmatch(target):
                raise _unclear(text, f"{target!r} is no quantisation")
            return cls(text, repo=repo, selector=config, target=target)
        if selector and (not SELECTOR.fullmatch(selector) or _leaves(selector)):
            raise _unclear(text, f"{selector!r} is neither a quantisation nor a file of the repository")
        return cls(text, repo=repo, selector=selector or None)

    @property
    def whole_path(self) -> str:
        """Return the path with what was taken for a target."""
        return f"{self.path}:{self.target}" if self.target else self.path or ""

    @classmethod
    def _local(cls, text: str, path: str) -> ModelReference:
        if not path.startswith("/") or "\0" in path:
            raise _unclear(text, "its path is not absolute")
        before, colon, target = path.rpartition(":")
        if colon and before not in ("", "/") and TARGET.fullmatch(target):
            return cls(text, path=before, target=target)
        return cls(text, path=path)


def _leaves(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")


def _unclear(text: str, reason: str) -> ModelError:
    return ModelError("model.reference", f"{text!r} names no model: {reason}", FORMS)
