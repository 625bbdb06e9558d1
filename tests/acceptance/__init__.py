"""The acceptance suite: reads the plan that a host keeps, and checks every promise in it on the host itself."""
