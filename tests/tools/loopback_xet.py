"""Xet storage for the loopback hub: enough of it for the real ``hf_xet`` to bring a file from it.

Each file is cut into chunks of one size, stored without compression, and a row of chunks is a block. The real storage
cuts by content and shares chunks between files; the client does not care.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from tests.tools.loopback_hub import HubFile, LoopbackHub

CHUNK_BYTES = 1 << 16
HEADER_BYTES = 8
BLOCK_CHUNKS = 64


@dataclass(frozen=True)
class Answer:
    """What the hub sends back; ``data_bytes`` counts the bytes of the file in it."""

    status: int
    body: bytes
    file: str = ""
    data_bytes: int = 0


class XetStorage:
    """Says how a file is put together, and gives out the blocks."""

    def __init__(self, hub: LoopbackHub) -> None:
        self._hub = hub

    def answer(self, path: str, header: str | None) -> Answer:
        """Answer one request below ``/-/cas``; ``header`` is its ``Range``."""
        first, last = _bounds(header)
        if match := re.fullmatch(r"/-/cas/v1/reconstructions/([0-9a-f]{64})", path):
            name, file = self._find(match[1])
            return self._reconstruction(file, first, last)
        if match := re.fullmatch(r"/-/cas/block/([0-9a-f]{64})/(\d+)", path):
            name, file = self._find(match[1])
            data = b"".join(_chunks(file.path, int(match[2])))[first : None if last is None else last + 1]
            return Answer(206, data, f"{name}/{file.name}", len(data))
        return Answer(404, b"")

    def _find(self, xet_hash: str) -> tuple[str, HubFile]:
        for folder in self._hub.store.root.glob("*/*/"):
            repo = self._hub.store.repository(folder.relative_to(self._hub.store.root).as_posix())
            for file in repo.files.values() if repo else ():
                if file.xet_hash == xet_hash:
                    return repo.name if repo else "", file
        raise KeyError(xet_hash)

    def _reconstruction(self, file: HubFile, first: int, last: int | None) -> Answer:
        if first >= file.size:
            return Answer(416, b"")
        end = min(file.size, (file.size if last is None else last + 1))
        terms, places = [], {}
        block_bytes = BLOCK_CHUNKS * CHUNK_BYTES
        for block in range(first // block_bytes, (end - 1) // block_bytes + 1):
            begin = block * block_bytes
            low = max(0, first - begin) // CHUNK_BYTES
            high = (min(end - begin, block_bytes) - 1) // CHUNK_BYTES + 1
            length = min(file.size, begin + high * CHUNK_BYTES) - (begin + low * CHUNK_BYTES)
            chunks = {"start": low, "end": high}
            name = hashlib.sha256(f"{file.xet_hash}/{block}".encode()).hexdigest()
            terms.append({"hash": name, "unpacked_length": length, "range": chunks})
            start = low * (CHUNK_BYTES + HEADER_BYTES)
            stored = {"start": start, "end": start + length + (high - low) * HEADER_BYTES - 1}
            url = f"{self._hub.url}/-/cas/block/{file.xet_hash}/{block}"
            places[name] = [{"range": chunks, "url": url, "url_range": stored}]
        body = {"offset_into_first_range": first % CHUNK_BYTES, "terms": terms, "fetch_info": places}
        return Answer(200, json.dumps(body).encode())


def _chunks(path: Path, block: int) -> list[bytes]:
    """Return the chunks of a block as they are stored: version, stored length, compression (none), length, content."""
    stored = []
    with path.open("rb") as stream:
        stream.seek(block * BLOCK_CHUNKS * CHUNK_BYTES)
        for _ in range(BLOCK_CHUNKS):
            data = stream.read(CHUNK_BYTES)
            if not data:
                break
            length = len(data).to_bytes(3, "little")
            stored.append(b"\0" + length + b"\0" + length + data)
    return stored


def _bounds(header: str | None) -> tuple[int, int | None]:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", header or "")
    return (int(match[1]), int(match[2]) if match[2] else None) if match else (0, None)
