"""What the plan's ``cuda`` holds; ``plan_schema`` includes it."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.plan.schema_field import Field

CUDA = Field(
    (dict, type(None)),
    "The CUDA toolkit that compiles the runtime; None where nothing is compiled for GPUs.",
    fields={
        "toolkit": Field((str,), "Its version: the newest that driver and GPUs allow."),
        "source": Field(
            (str,), "Wheels of the Python package index, or NVIDIA's own repository for apt.", ("wheels", "nvidia")
        ),
        "prefix": Field((str,), "Where its libraries are found, whatever their source."),
        "capabilities": Field((list,), "The compute capabilities to compile for, as 86 for 8.6."),
        "packages": {
            "libraries": Field((list,), "What the runtime is linked to."),
            "compiler": Field((list,), "What compiles it, on a host that has to."),
        },
    },
)
