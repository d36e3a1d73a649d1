"""Random programs on two mounts, random kills, and a model that knows what was acknowledged."""
