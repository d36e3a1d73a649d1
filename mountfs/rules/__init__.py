"""The decisions: pure state machines and planners. No I/O, no trio; the time is an argument."""
