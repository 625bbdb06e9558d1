#!/usr/bin/python
"""Say what a model is, from its own headers."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.egress import EgressError, Proxy
from ansible_collections.llmhost.core.plugins.module_utils.http_range import HttpClient
from ansible_collections.llmhost.core.plugins.module_utils.hub import Hub
from ansible_collections.llmhost.core.plugins.module_utils.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.model_query import ModelQuery

DOCUMENTATION = r"""
module: model_info
short_description: Say what a model is, from its own headers
version_added: "0.1.0"
author: llmhost maintainers (@llmhost)
description:
  - Reads the header of a GGUF model (one file or several), or the headers of a safetensors checkpoint with its
    C(config.json), and says how large the model is, of which shape, and which files it consists of.
  - The weights themselves are not fetched. On a hub, a few ranges of a few MiB are read.
  - Nothing is changed. A model that this host has published already is described without any network.
options:
  model:
    description:
      - C(org/repo:QUANTISATION), C(org/repo:file.gguf) or C(org/repo) on a hub, an absolute path on the target,
        or a C(file://) URL of one.
      - With C(org/repo) alone, the quantisation is Q4_K_M, or the only one that there is.
    type: str
    required: true
  revision:
    description: Branch, tag or commit of the repository.
    type: str
    default: main
  endpoint:
    description: Address of the hub, or of a mirror that speaks its protocol.
    type: str
    default: https://huggingface.co
  token:
    description: Token of an account that may read the model, if it is private or gated. It is sent to the hub only.
    type: str
    default: ""
  proxy:
    description: Proxies by the keys C(http), C(https), and C(no_proxy) for the hosts that are reached without one.
    type: dict
    default: {}
  ca_certificates:
    description: Contents of PEM files with authorities to trust beside those of the system.
    type: list
    elements: str
    default: []
  state_dir:
    description: Folder with C(models.json), the record of the models that were published on this host.
    type: path
    default: /etc/llmhost/state
  timeout:
    description: Seconds without an answer after which a connection counts as broken.
    type: float
    default: 30
attributes:
  check_mode:
    description: Never changes anything, so it does the same in check mode.
    support: full
"""

EXAMPLES = r"""
- name: Read what the model is
  llmhost.core.model_info:
    model: Qwen/Qwen3-32B-GGUF:Q4_K_M
  register: __result

- name: Read a model that lies on the target
  llmhost.core.model_info:
    model: /srv/models/mine-Q8_0.gguf
  register: __result
"""

RETURN = r"""
code:
  description: What went wrong, for programs (C(model.not_found), C(model.gated), C(hub.unreachable) and so on).
  returned: failure
  type: str
model:
  description:
    - Everything that is known of the model. All sizes are in bytes.
    - C(weights_bytes) is the exact sum over the tensors; C(tensor_types) splits it by type. C(token_embedding_bytes)
      and C(output_bytes) are parts of it; with C(tied_embeddings), the output layer uses the former.
    - C(head_count_kv) is a list if layers differ.
    - C(commit) is the commit of the repository; for a local model, a checksum over headers and sizes.
    - C(files) lists the file that the runtime is given first. Checksums are those that the hub names.
    - C(unsupported) names features of the architecture whose memory is not sized exactly.
  returned: success
  type: dict
  sample:
    {"schema": 1, "source": "hub", "repo": "Qwen/Qwen3-0.6B-GGUF", "path": null, "format": "gguf",
     "request": {"model": "Qwen/Qwen3-0.6B-GGUF", "revision": "main", "endpoint": "https://huggingface.co"},
     "commit": "0123456789abcdef0123456789abcdef01234567", "quantization": "Q8_0", "architecture": "qwen3",
     "name": "Qwen3 0.6B", "parameters": 596049920, "weights_bytes": 633495552, "total_bytes": 639446688,
     "largest_file_bytes": 639446688, "files": [{"name": "Qwen3-0.6B-Q8_0.gguf", "size_bytes": 639446688,
     "sha256": "9465e63a", "git_oid": "7f1e2d"}], "tensor_types": {"F32": 262144, "Q8_0": 633233408},
     "token_embedding_bytes": 165306368, "output_bytes": 0, "tied_embeddings": true, "layers": 28,
     "embedding_length": 1024, "feed_forward_length": 3072, "head_count": 16, "head_count_kv": 8, "head_dim_k": 128,
     "head_dim_v": 128, "context_length": 40960, "vocab_size": 151936, "expert_count": 0, "expert_used_count": 0,
     "sliding_window": null, "chat_template": true, "unsupported": [], "license": "apache-2.0", "gated": false,
     "private": false, "findings": []}
"""

ARGUMENTS = {
    "model": {"type": "str", "required": True},
    "revision": {"type": "str", "default": "main"},
    "endpoint": {"type": "str", "default": "https://huggingface.co"},
    "token": {"type": "str", "default": "", "no_log": True},
    "proxy": {"type": "dict", "default": {}},
    "ca_certificates": {"type": "list", "elements": "str", "default": []},
    "state_dir": {"type": "path", "default": "/etc/llmhost/state"},
    "timeout": {"type": "float", "default": 30},
}


def main() -> None:
    """Read the arguments, answer with the model."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    given = module.params
    query = ModelQuery(given["model"], given["revision"], given["endpoint"])

    def connect() -> Hub:
        client = HttpClient(Proxy.from_settings(given["proxy"]), given["ca_certificates"], given["timeout"])
        return Hub(client, given["endpoint"], given["token"])

    try:
        model = query.published(given["state_dir"]) or query.read(connect)
    except ModelError as error:
        module.fail_json(msg=str(error), code=error.code)
    except EgressError as error:
        module.fail_json(msg=str(error), code="hub.proxy")
    module.exit_json(changed=False, model=model)


if __name__ == "__main__":
    main()
