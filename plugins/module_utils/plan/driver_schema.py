"""What the plan's ``driver`` holds; ``plan_schema`` includes it."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.module_utils.plan.schema_field import Field

SOURCES = ("ubuntu", "ubuntu-dkms", "nvidia", "kept")
FLAVOURS = ("open", "proprietary")

DRIVER = Field(
    (dict, type(None)),
    "The NVIDIA driver; None where nothing computes on a GPU.",
    fields={
        "source": Field(
            (str,),
            "Ubuntu's signed modules, Ubuntu's sources compiled on the host, NVIDIA's repository, or what is there.",
            SOURCES,
        ),
        "branch": Field((str,), "The branch that results, such as 580-server; of a kept driver its number."),
        "flavour": Field((str,), "The kind of kernel modules, by the generation of the GPUs.", FLAVOURS),
        "packages": Field(
            (list,),
            "The packages of the driver, and of the kernel if it changes: one transaction of apt. None for a kept one.",
        ),
        "kernel": Field((str, type(None)), "The kernel metapackage among them, if another kernel is needed."),
        "hold": Field((list,), "Packages that nothing but a deliberate upgrade of the driver may change."),
        "version": Field((str, type(None)), "The version that results; None where apt has not said it yet."),
        "reboot": {
            "allowed": Field((bool,), "Whether the role may reboot the host."),
            "needed": Field((bool,), "Whether the driver works only after a reboot, as far as is known before."),
            "why": Field((str,), "Why it is needed, in words."),
            "local": Field((bool,), "Whether the host is the machine that runs Ansible, which ends with it."),
        },
        "persistence": Field((bool,), "Whether the driver stays initialised while nothing uses the GPUs."),
        "power_limit_watts": Field((int, type(None)), "The limit for each GPU; None: as it is."),
        "fabric_manager": Field((str, type(None)), "The package of the fabric manager, where NVSwitch is."),
        "container_toolkit": Field((bool,), "Whether nvidia-container-toolkit is installed."),
        "secure_boot": Field((bool,), "Whether the firmware takes only signed modules."),
        "declared": Field((bool,), "Whether the GPUs are named by llmhost_gpus and not in the machine."),
        "modules": Field((list,), "The kernel modules to load at boot; none where a container may load none."),
    },
)
