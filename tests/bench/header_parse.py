"""Measure what reading the header of a large model over HTTP costs: bytes, requests, CPU seconds of the reader.

The headers are as long as those of published models, by their tokens, merges, and lists of scores and types; the texts
are invented. They come from the hub of the tests, on loopback, redirects and all.
Run from the root of the repository: ``PYTHONPATH=collections python -m tests.bench.header_parse``.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

from ansible_collections.llmhost.core.plugins.module_utils.model.byte_source import LocalFile
from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import GgufHeader
from ansible_collections.llmhost.core.plugins.module_utils.model.http_range import HttpClient
from ansible_collections.llmhost.core.plugins.module_utils.model.hub import Hub

from tests.tools.large_header import HEADERS
from tests.tools.loopback_hub import LoopbackHub

RUNS = 5
REPO = "acme/large"


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        for name, make in HEADERS.items():
            data, size = make()
            written = Path(folder, REPO, f"{name.replace(' ', '-')}.gguf")
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_bytes(data.ljust(size, b"\0"))
        with LoopbackHub(Path(folder), cdn=("127.0.0.1", 0)) as hub:
            for path in sorted(Path(folder, REPO).iterdir()):
                print(measured(hub, path))


def measured(hub: LoopbackHub, path: Path) -> str:
    """Read one header from the hub, and say what that cost; see that it is what the whole file says."""
    seconds = []
    for _ in range(RUNS):
        client = HttpClient()
        remote = Hub(client, hub.url)
        source = remote.file(remote.repository(REPO, "main"), path.name)
        before, asked = client.bytes_fetched, len(hub.log.as_dict()["requests"])
        begin = time.thread_time()
        found = GgufHeader.from_source(source)
        seconds.append(time.thread_time() - begin)
    entries = hub.log.as_dict()["requests"][asked:]
    reads = sum(1 for entry in entries if "/resolve/" in entry["path"])
    whole = GgufHeader.from_source(LocalFile(str(path)))
    assert (found.metadata, found.tensors) == (whole.metadata, whole.tensors)
    return (
        f"{path.stem}: a header of {whole.header_bytes / 1e6:.1f} MB, {(client.bytes_fetched - before) / 1e6:.1f} MB "
        f"fetched in {reads} requests, {median(seconds):.3f} s of CPU ({min(seconds):.3f} to {max(seconds):.3f})"
    )


if __name__ == "__main__":
    main()
