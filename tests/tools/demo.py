"""`make demo`: a container becomes a host that serves a model, is proved, and answers a question.

Run again, it changes nothing. MODEL in the environment (org/repo:QUANT) takes a model of the public hub.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import openai
import testinfra

from tests.acceptance.tunnel import Tunnel, relay_command
from tests.tools.bed import CHECKOUT, Bed, BedError
from tests.tools.demo_model import models_directory

HOST = "llmhost-demo"
PUBLIC_HUB = "https://huggingface.co"
QUESTION = "In one sentence: what is a language model?"
ANSWER_TOKENS = 48


def extra_variables(model: str) -> dict[str, str]:
    """What a model of the public hub needs. The token stays in the environment until the moment it is used."""
    if not model:
        return {}
    token = "{{ lookup('ansible.builtin.env', 'HF_TOKEN') }}"
    return {"llmhost_model": model, "llmhost_hub_endpoint": PUBLIC_HUB, "llmhost_hub_token": token}


def play(playbook: str, variables: dict[str, str]) -> None:
    command = [f"{sys.prefix}/bin/ansible-playbook", f"playbooks/{playbook}.yml", "-i", "inventories/demo"]
    if variables:
        command += ["-e", json.dumps(variables)]
    path = f"{sys.prefix}/bin:{os.environ['PATH']}"
    ended = subprocess.run(command, check=False, cwd=CHECKOUT, env={**os.environ, "PATH": path})
    if ended.returncode != 0:
        sys.exit(f"demo: playbooks/{playbook}.yml failed; the reason stands above")


def ask(bed: Bed) -> None:
    """Put a question to the server from here, as any client of the OpenAI API would, and print what comes back."""
    runtime = json.loads(bed.shell("cat /etc/llmhost/plan.json"))["runtime"]
    key = bed.shell("head -n 1 /etc/llmhost/credentials/api_key").strip()
    relay = relay_command(testinfra.get_host(f"docker://{bed.name}").backend, "127.0.0.1", int(runtime["port"]))
    with Tunnel(relay) as tunnel, openai.OpenAI(base_url=f"http://127.0.0.1:{tunnel.port}/v1", api_key=key) as client:
        begin = time.monotonic()
        answer = client.chat.completions.create(
            model=runtime["served_name"],
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=ANSWER_TOKENS,
        )
        seconds = time.monotonic() - begin
    timings = (answer.model_extra or {}).get("timings", {})
    tokens = answer.usage.completion_tokens if answer.usage else 0
    speed = timings.get("predicted_per_second") or tokens / seconds
    print(f"\nQuestion: {QUESTION}\nAnswer:   {answer.choices[0].message.content}")
    print(f"Speed:    {speed:.1f} tokens/s over {tokens} tokens")


def up(model: str) -> None:
    bed = Bed(HOST).start()
    bed.serve_hub(models_directory())
    variables = extra_variables(model)
    play("intermediate", variables)
    play("acceptance", variables)
    ask(bed)
    if not model:
        print(
            "          The demo's model is random and speaks nonsense; make demo MODEL=org/repo:QUANT takes a real one."
        )
    print(f"Report:   reports/{HOST}/report.txt\nLook in:  docker exec -it {HOST} bash      Remove: make demo-down")


if __name__ == "__main__":
    try:
        up(os.environ.get("MODEL", ""))
    except BedError as error:
        sys.exit(f"demo: {error}")
