"""What the plan's ``multi_gpu`` holds; ``plan_schema`` includes it."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.plan.schema_field import Field

MULTI_GPU = Field(
    (dict, type(None)),
    "How the GPUs work together, and what is proved of them; None where none is in the machine or no model is named.",
    fields={
        "order": Field((list,), "PCI addresses of the GPUs in use, in the order of the engine's ranks."),
        "split": Field(
            (str,),
            "How the model is divided among them.",
            ("none", "layer", "tensor", "pipeline", "tensor+pipeline"),
        ),
        "why": Field((str,), "Why, in words."),
        "environment": Field((dict,), "Variables of the service: which ways NCCL and the engine may take."),
        "custom_all_reduce": Field((bool,), "Whether vLLM sums over GPUs by its own kernels."),
        "peers": Field(
            (str,),
            "Direct transfers: not known before there is a driver, none, granted by it, proved right, or failed.",
            ("unknown", "none", "granted", "proved", "failed"),
        ),
        "expected": Field(
            (list,),
            "Each pair of GPUs.",
            items={
                "a": Field((str,), "PCI address of one."),
                "b": Field((str,), "PCI address of the other."),
                "path": Field((str,), "What carries data between them.", ("nvlink", "switch", "pcie", "host")),
                "gbs": Field((float,), "What a large copy one way should reach, in 10^9 bytes a second; 0: not known."),
            },
        ),
        "proof": {
            "gpus": Field((list,), "PCI addresses of the GPUs to prove: all."),
            "environment": Field((dict,), "Variables that NCCL is proved with."),
            "burn_in_seconds": Field((int,), "How long each GPU computes under load."),
            "nccl": Field((str, type(None)), "The CUDA generation of NCCL; None for one GPU.", ("cu12", "cu13", None)),
        },
    },
)
