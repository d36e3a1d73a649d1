"""The benchmark behind `scripts/bench`: one set of workloads, run side by side on several file systems."""
