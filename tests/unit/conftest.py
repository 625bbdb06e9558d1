"""Settings of the property tests: no example fails because the machine was busy."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Inherits the profile that hypothesis loads by itself, which in CI repeats the same examples; so does a given seed.
repeats = settings().derandomize or "LLMHOST_SEED" in os.environ
settings.register_profile(
    "patient", settings(), deadline=None, derandomize=repeats, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")
