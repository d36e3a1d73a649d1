"""Asking the remote about nodes, many askers sharing one call."""

from collections import Counter
from collections.abc import Iterable
from math import inf
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
        self.is_answered = False
        self.answer: RemoteNode | None = None
        self.error: MountfsError | None = None


class _AwaitedNews:
    """Nodes that were made at about the same time: once their news has come, they are asked for together."""

    def __init__(self) -> None:
        self.nodes: set[NodeId] = set()
        self.questions: list[_Question] = []
        self.asked_at = -inf
        self.is_over = trio.Event()
        self._told = trio.Event()

    def heard(self, node: NodeId) -> bool:
        """The feed has told of the node; return whether somebody waited for that."""
        if node not in self.nodes:
            return False
        self.nodes.remove(node)
        if not self.nodes:
            self._told.set()
        return True

    async def all_heard(self) -> None:
        """Return when there are none of which the feed has still to tell."""
        # Those that are made in the same moment are waited for as well.
        await trio.lowlevel.checkpoint()
        while self.nodes:
            self._told = trio.Event()
            await self._told.wait()


class NodeLookup:
    """While one call is under way the next questions gather, and are then asked together.

    So every answer is of a call that began after the question.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._waiting: list[_Question] = []
        self._answer_due: trio.Event | None = None
        """Of the call under way, None while there is none."""
        self._heard: dict[NodeId, None] = {}
        """Nodes that the feed has told of before anybody waited for that, the youngest last."""
        self._awaited: _AwaitedNews | None = None

    def heard(self, nodes: Iterable[NodeId]) -> None:
        """The feed has told of these."""
        for node in nodes:
            if self._awaited is None or not self._awaited.heard(node):
                self._heard[node] = None
        while len(self._heard) > HEARD_MOST:
            del self._heard[next(iter(self._heard))]

    async def made(self, node: NodeId, folder: NodeId) -> tuple[RemoteNode | None, float]:
        """Return what the remote knows of a node that was made in the folder just now, with many others, and
        when (trio's clock) that was asked for: once the feed has told of the node, and of those that others
        ask for by then, or after `NEWS_S`."""
        is_first = self._awaited is None
        awaited = self._awaited = self._awaited or _AwaitedNews()
        question = _Question(node, folder)
        awaited.questions.append(question)
        if node in self._heard:
            del self._heard[node]
        else:
            awaited.nodes.add(node)
        if is_first:
            # Of all who wait only one has a clock, and asks: a batch has hundreds.
            await self._ask_when_heard(awaited)
        else:
            await awaited.is_over.wait()
        return await self._answer(question), awaited.asked_at

    async def _ask_when_heard(self, awaited: _AwaitedNews) -> None:
        """Cancelled, it leaves the questions to the others."""
        try:
            try:
                await self._end_in_time(awaited)
            finally:
                awaited.asked_at = trio.current_time()
                self._waiting += awaited.questions
            await self._wait_answered(awaited.questions[0])
        finally:
            awaited.is_over.set()

    async def _end_in_time(self, awaited: _AwaitedNews) -> None:
        try:
            with trio.move_on_after(NEWS_S):
                await awaited.all_heard()
                self._awaited = None
                # Where it is told twice, once more.
                await trio.sleep(TWICE_S)
        finally:
            if self._awaited is awaited:
                self._awaited = None

    async def node(self, node: NodeId, *, new_in: NodeId | None = None) -> RemoteNode | None:
        """Return what the remote knows of the node now, None when it does not know it.

        `new_in`: the folder where it was created just now.
        """
        question = _Question(node, new_in)
        self._waiting.append(question)
        return await self._answer(question)

    async def _answer(self, question: _Question) -> RemoteNode | None:
        await self._wait_answered(question)
        if question.error is not None:
            raise question.error
        return question.answer

    async def _wait_answered(self, question: _Question) -> None:
        """Ask, where nobody is at it, what waits to be asked, and this is one of."""
        while not question.is_answered:
            # All who wait for a call go on together, as there may be hundreds.
            if self._answer_due is not None:
                await self._answer_due.wait()
            else:
                await self._ask()

    async def nodes(self, nodes: list[NodeId]) -> dict[NodeId, RemoteNode]:
        """Return what the remote knows of each node; those it does not know are absent."""
        return await self._remote.nodes(nodes) if nodes else {}

    async def _ask(self) -> None:
        """Answer all that wait. Cancelled, it leaves them to the next who asks."""
        self._answer_due = trio.Event()
        questions: list[_Question] = []
        try:
            # What is asked in the same moment goes in the same call.
            await trio.lowlevel.checkpoint()
            questions, self._waiting = self._waiting, []
            answers = await self._newest(questions)
            unknown = {question.node for question in questions} - answers.keys()
            answers |= await self.nodes(list(unknown))
        except MountfsError as error:
            for question in questions:
                question.error = error
        except BaseException:
            self._waiting = questions + self._waiting
            raise
        else:
            for question in questions:
                question.answer = answers.get(question.node)
        finally:
            self._answer_due.set()
            self._answer_due = None
        for question in questions:
            question.is_answered = True

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
