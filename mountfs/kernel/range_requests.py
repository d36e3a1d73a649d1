"""Requests for fallocate, holes and copies from file to file. Needs the C extension."""

from collections.abc import Awaitable, Callable

from mountfs.kernel import _extras, translate
from mountfs.kernel.deferred_requests import SUCCESS, Answer, DeferredRequests
from mountfs.kernel.served_requests import ServedRequests
from mountfs.model.filesystem import Caller, Filesystem, Handle


class RangeRequests:
    """Make it before `pyfuse3.init`."""

    def __init__(self, filesystem: Filesystem, requests: DeferredRequests, served: ServedRequests) -> None:
        self._filesystem = filesystem
        self._requests = requests
        self._served = served
        _extras.install_ranges(self._allocation_arrived, self._seek_arrived, self._copy_arrived)

    def _begin(self, request: int, name: str, work: Callable[[], Awaitable[Answer]]) -> None:
        with self._served.serving():
            self._requests.begin(request, name, work)

    def _allocation_arrived(
        self,
        request: int,
        ino: int,
        handle: int,
        mode: int,
        offset: int,
        length: int,
        caller: tuple[int, int, int],
    ) -> None:
        async def allocate() -> Answer:
            wanted = translate.allocation(mode, offset, length)
            await self._filesystem.allocate(Handle(handle), wanted, Caller(*caller))
            return SUCCESS

        self._begin(request, "fallocate", allocate)

    def _seek_arrived(self, request: int, handle: int, offset: int, whence: int) -> None:
        async def seek() -> Answer:
            found = await self._filesystem.seek(Handle(handle), offset, translate.seek_target(whence))
            return lambda number: _extras.reply_position(number, found)

        self._begin(request, "lseek", seek)

    def _copy_arrived(
        self,
        request: int,
        source: int,
        source_offset: int,
        ino: int,
        target: int,
        target_offset: int,
        size: int,
        caller: tuple[int, int, int],
    ) -> None:
        async def copy() -> Answer:
            count = await self._filesystem.copy_range(
                Handle(source), source_offset, Handle(target), target_offset, size, Caller(*caller)
            )
            return lambda number: _extras.reply_count(number, count)

        self._begin(request, "copy_file_range", copy)
