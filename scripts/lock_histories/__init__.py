"""Locks under faults: programs on three mounts, a network that fails, and a checker of what they saw."""
