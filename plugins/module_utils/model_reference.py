"""What a user types as ``llmhost_model``: a repository on a hub, or a path on the target."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from ansible_collections.llmhost.core.plugins.module_utils.model_error import ModelError

REPOSITORY = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
SELECTOR = re.compile(r"[\w.+ /-]{1,512}")
FORMS = "Write org/repo, org/repo:Q4_K_M, org/repo:file.gguf, an absolute path, or file:///path."


@dataclass(frozen=True)
class ModelReference:
    """Where a model is: ``repo`` on a hub, perhaps with a ``selector`` (quantisation or file), or ``path`` here."""

    text: str
    repo: str | None = None
    selector: str | None = None
    path: str | None = None

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
        if selector and (not SELECTOR.fullmatch(selector) or _leaves(selector)):
            raise _unclear(text, f"{selector!r} is neither a quantisation nor a file of the repository")
        if text.endswith(":"):
            raise _unclear(text, "nothing follows the colon")
        return cls(text, repo=repo, selector=selector or None)

    @classmethod
    def _local(cls, text: str, path: str) -> ModelReference:
        if not path.startswith("/") or "\0" in path:
            raise _unclear(text, "its path is not absolute")
        return cls(text, path=path)


def _leaves(path: str) -> bool:
    return path.startswith("/") or ".." in path.split("/")


def _unclear(text: str, reason: str) -> ModelError:
    return ModelError("model.reference", f"{text!r} names no model: {reason}", FORMS)
