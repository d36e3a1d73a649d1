"""The near side: requests of the kernel become calls of `mountfs.model.filesystem.Filesystem`.

The C extension has to be in the process before pyfuse3; importing anything of this package sees to that.
"""

from mountfs.kernel import extension

__all__ = ["extension"]
