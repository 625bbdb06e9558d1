"""Settings of the property tests: no example fails because the machine was busy."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Inherits the profile that hypothesis loads by itself, which in CI repeats the same examples.
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
