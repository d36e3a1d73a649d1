"""Asking the remote about nodes, many askers sharing one call."""

import trio

from mountfs.model.errors import MountfsError
from mountfs.model.ids import NodeId
from mountfs.model.node import RemoteNode
from mountfs.model.remote import Remote


class _Question:
    def __init__(self, node: NodeId) -> None:
        self.node = node
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

    async def node(self, node: NodeId) -> RemoteNode | None:
        """Return what the remote knows of the node now, None when it does not know it."""
        question = _Question(node)
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
            answers = await self._remote.nodes(list({question.node for question in questions}))
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
