"""Fixtures of the crash tests: those of whole mounts."""

from tests.t5_kernel.conftest import make_world, pytest_collection_modifyitems, world

__all__ = ["make_world", "pytest_collection_modifyitems", "world"]
