"""The meaning of each file operation."""
