"""mountfs: a remote workspace as an ordinary directory."""

__version__ = "0.1.0"
