"""Work that was begun outside of a task's `await`, and is awaited on by the same task."""

import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

_R = TypeVar("_R")


@dataclass(slots=True, eq=False)
class BegunRequest:
    """A request whose `work` has come to where it has to wait for something, which is `trap`.

    It was begun (`began`, by `perf_counter`) within the task that is to await the rest, and that task must
    not have awaited anything since: so the event loop sees no difference.
    """

    began: float
    work: Coroutine[Any, Any, Any]
    trap: object
    translate: Callable[[Any], Any]

    async def rest(self) -> Any:
        """Return the translated result. Raises what the work does."""
        return self.translate(await _rest(self.work, self.trap))


@types.coroutine
def _rest(work: Coroutine[Any, Any, _R], trap: object) -> Generator[object, Any, _R]:
    """Do what `yield from` does, from after the first thing that `work` yielded."""
    try:
        while True:
            try:
                answer = yield trap
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:
                trap = work.throw(error)
            else:
                trap = work.send(answer)
    except StopIteration as end:
        result: _R = end.value
        return result
