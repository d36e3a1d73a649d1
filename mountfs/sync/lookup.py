"""Asking the remote about nodes, many askers sharing one call."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import trio

from mountfs.model.errors import MountfsError, RemoteError, RemoteUnavailable
from mountfs.model.ids import NodeId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import Remote

LISTED_FROM: Final = 20
LISTED_MOST: Final = 500
"""From so many new children of one folder on, and for so many of them, its newest ones are listed, rather
than each asked for by its id."""

NEWS_S: Final = 0.5
"""How long the question for a new node waits until the feed has told of it, whose news then asks nothing."""

TWICE_S: Final = 0.05
"""How much later another source of news may tell the same."""

HEARD_MOST: Final = 1000


class _Question:
    def __init__(self, node: NodeId, new_in: NodeId | None) -> None:
        self.node = node
        self.new_in = new_in
        self.answered = trio.Event()
        self.answer: RemoteNode | None = None
        self.error: MountfsError | None = None


class NodeLookup:
    """While one call is under way the next questions gather, and are then asked together.

    So every answer is of a call that began after the question.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._waiting: list[_Question] = []
        self._asking = trio.Lock()
        self._heard: dict[NodeId, trio.Event] = {}
        """Nodes that the feed has told of, or that somebody waits for it to tell of, the youngest last."""

    def heard(self, nodes: Iterable[NodeId]) -> None:
        """The feed has told of these."""
        for node in nodes:
            self._heard.setdefault(node, trio.Event()).set()
        while len(self._heard) > HEARD_MOST:
            del self._heard[next(iter(self._heard))]

    async def wait_heard(self, node: NodeId) -> None:
        """Return once the feed has told of the node, or after `NEWS_S`."""
        heard = self._heard.setdefault(node, trio.Event())
        with trio.move_on_after(NEWS_S):
            await heard.wait()
            # Where it is told twice, once more.
            await trio.sleep(TWICE_S)
        self._heard.pop(node, None)

    async def node(self, node: NodeId, *, new_in: NodeId | None = None) -> RemoteNode | None:
        """Return what the remote knows of the node now, None when it does not know it.

        `new_in`: the folder where it was created just now.
        """
        question = _Question(node, new_in)
        self._waiting.append(question)
        async with self._asking:
            if not question.answered.is_set():
                await self._ask()
        if question.error is not None:
            raise question.error
        return question.answer

    async def nodes(self, nodes: list[NodeId]) -> dict[NodeId, RemoteNode]:
        """Return what the remote knows of each node; those it does not know are absent."""
        return await self._remote.nodes(nodes) if nodes else {}

    async def _ask(self) -> None:
        questions, self._waiting = self._waiting, []
        try:
            answers = await self._newest(questions)
            unknown = {question.node for question in questions} - answers.keys()
            answers |= await self.nodes(list(unknown))
        except MountfsError as error:
            for question in questions:
                question.error = error
        except trio.Cancelled:
            self._waiting = [question for question in questions if not question.answered.is_set()] + (
                self._waiting
            )
            raise
        else:
            for question in questions:
                question.answer = answers.get(question.node)
        for question in questions:
            question.answered.set()

    async def _newest(self, questions: list[_Question]) -> dict[NodeId, RemoteNode]:
        """Return what the listings of folders tell, in which many of these are new. Raises RemoteUnavailable;
        a listing that is refused tells nothing."""
        found: dict[NodeId, RemoteNode] = {}
        for folder, count in Counter(question.new_in for question in questions).items():
            if folder is None or count < LISTED_FROM:
                continue
            try:
                rows = await self._remote.newest(folder, min(count, LISTED_MOST))
            except RemoteUnavailable:
                raise
            except RemoteError:
                continue
            # Without its hash a row tells less than the answer about the node.
            found |= {row.id: row for row in rows if row.sha256 is not None}
        return found
