"""The API: closed without the key, and answering the real OpenAI client, at the planned speed."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import openai
import pytest

from tests.acceptance.expectation import Figure, expect, expect_equal
from tests.acceptance.target import SERVICE, Target

LOOK = f"journalctl -u {SERVICE}"
QUESTION = "In one sentence: what is a host?"
TOKENS = 64
RUNS = 3

pytestmark = pytest.mark.applied("inference")


@dataclass(frozen=True)
class Stream:
    """One streamed answer, with the times at which its pieces arrived."""

    text: str
    pieces: int
    tokens: int
    first: float
    last: float
    begun: float
    by_its_own_clock: float | None

    @property
    def tokens_per_second(self) -> float:
        """Return the speed after the first piece: what comes before it is the reading of the question.

        Pieces can arrive in one bunch, which flatters; the service's own clock, where it tells it, is the upper bound.
        """
        seen = (self.tokens - 1) / max(self.last - self.first, 1e-9)
        return min(seen, self.by_its_own_clock or seen)


def stream(client: openai.OpenAI, model: str) -> Stream:
    """Ask for an answer of full length, whatever the model would like to say."""
    begun, times, text, tokens, own = time.monotonic(), [], [], 0, None
    for chunk in client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=TOKENS,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True, "cache_prompt": False},
    ):
        if chunk.choices and chunk.choices[0].delta.content:
            times.append(time.monotonic())
            text.append(chunk.choices[0].delta.content)
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
        own = (chunk.model_extra or {}).get("timings", {}).get("predicted_per_second", own)
    first, last = (times[0], times[-1]) if times else (begun, begun)
    return Stream("".join(text), len(text), tokens, first, last, begun, own)


@pytest.mark.parametrize("key", ["", "not-the-key"], ids=["no key", "a wrong key"])
def test_the_models_are_not_listed_without_the_key(base_url: str, target: Target, key: str) -> None:
    expect_equal("GET /v1/models without the key", expected=401, found=status_of(base_url, key, "models"), remedy=LOOK)


@pytest.mark.parametrize("key", ["", "not-the-key"], ids=["no key", "a wrong key"])
def test_no_question_is_answered_without_the_key(base_url: str, target: Target, key: str) -> None:
    found = status_of(base_url, key, "chat")
    expect_equal("POST /v1/chat/completions without the key", expected=401, found=found, remedy=LOOK)


def status_of(base_url: str, key: str, what: str) -> int:
    """Return the status with which the service answers a stranger."""
    with openai.OpenAI(base_url=base_url, api_key=key or "-", max_retries=0, timeout=30) as stranger:
        headers = {} if key else {"Authorization": openai.Omit()}
        try:
            if what == "models":
                stranger.models.list(extra_headers=headers)
            else:
                stranger.chat.completions.create(
                    model="any", messages=[{"role": "user", "content": QUESTION}], max_tokens=1, extra_headers=headers
                )
        except openai.APIStatusError as refusal:
            return refusal.status_code
    return 200


def test_the_planned_model_is_listed(client: openai.OpenAI, target: Target) -> None:
    wanted = target.slice("inference")["served_name"]
    found = [model.id for model in client.models.list()]
    expect(wanted in found, "models that the service lists", expected=wanted, found=found, remedy=LOOK)


def test_a_question_is_answered(client: openai.OpenAI, target: Target, figure: Figure) -> None:
    answer = client.chat.completions.create(
        model=target.slice("inference")["served_name"],
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=TOKENS,
        extra_body={"ignore_eos": True},
    )
    usage = answer.usage
    text = answer.choices[0].message.content or ""
    assert usage is not None, "the answer came without its usage"
    figure("tokens", str(usage.completion_tokens))
    expect(bool(text.strip()), "answer to a chat question", expected="some text", found=text, remedy=LOOK)
    expect_equal("tokens of the answer", expected=TOKENS, found=usage.completion_tokens, remedy=LOOK)


def test_an_answer_comes_piece_by_piece(client: openai.OpenAI, target: Target, figure: Figure) -> None:
    answer = stream(client, target.slice("inference")["served_name"])
    figure("first piece", f"{(answer.first - answer.begun) * 1000:.0f} ms")
    expect(answer.pieces > 1, "pieces of a streamed answer", expected="several", found=answer.pieces, remedy=LOOK)
    expect_equal("tokens of a streamed answer", expected=TOKENS, found=answer.tokens, remedy=LOOK)


def test_the_answers_come_at_the_planned_speed(client: openai.OpenAI, target: Target, figure: Figure) -> None:
    name = target.slice("inference")["served_name"]
    speed = statistics.median(stream(client, name).tokens_per_second for _ in range(RUNS))
    floor = target.plan["acceptance"].get("tokens_per_second")
    figure("speed", f"{speed:.1f} tokens/s")
    figure("planned", f"{floor} tokens/s or more" if floor else "no floor")
    if floor:
        remedy = "is the host busy, or hot? See the findings of the plan; choose a smaller model or quantisation."
        expect(
            speed >= floor, "speed of the answers", expected=f"{floor} tokens/s", found=f"{speed:.1f}", remedy=remedy
        )
