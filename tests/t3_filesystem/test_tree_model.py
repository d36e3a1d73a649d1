"""The tree and its rules against models: programs' changes are sent in few calls, and both sides' are kept.

No disk, no wire and no time are part of it, so many histories fit into a second; what they add is in
`test_model.py` and `test_two_writers.py`. A thorough run: MOUNTFS_FUZZ_EXAMPLES=5000.
"""

import os
from collections.abc import Iterable
from typing import Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mountfs.model.filesystem import RenameFlag
from mountfs.model.ids import ROOT_NODE, NodeId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.rules.steps import Step, next_step
from tests.t3_filesystem.modelled_mount import ModelledMount
from tests.t3_filesystem.modelled_workspace import Contents, ModelledWorkspace

IS_THOROUGH: Final = "MOUNTFS_FUZZ_EXAMPLES" in os.environ
EXAMPLES: Final = int(os.environ.get("MOUNTFS_FUZZ_EXAMPLES", "20"))

PLACES: Final = ("a", "b", "d", "d/a", "d/b", "d/e", "e", "e/a")
PATHS = st.sampled_from(PLACES)
NUMBERS = st.integers(0, 100)
ASIDE = " (conflict "


def above(path: str) -> str:
    return path.rpartition("/")[0]


def name_of(path: str) -> str:
    return path.rpartition("/")[2]


def is_directory(model: Contents, path: str) -> bool:
    return not path or (path in model and model[path] is None)


def is_file(model: Contents, path: str) -> bool:
    return model.get(path) is not None


def has_children(model: Contents, path: str) -> bool:
    return any(above(other) == path for other in model)


def can_rename(model: Contents, path: str, other: str) -> bool:
    if path == other or path not in model or not is_directory(model, above(other)):
        return False
    if f"{other}/".startswith(f"{path}/"):
        return False
    if other not in model:
        return True
    return is_file(model, path) == is_file(model, other) and not has_children(model, other)


def renamed(model: Contents, path: str, other: str) -> Contents:
    """Return the model with all that is below `path` below `other`, in place of what was there."""
    moved = {
        other + found[len(path) :]: model[found] for found in model if f"{found}/".startswith(f"{path}/")
    }
    kept = {
        found: what for found, what in model.items() if not f"{found}/".startswith((f"{path}/", f"{other}/"))
    }
    return kept | moved


def chosen(paths: Iterable[str], number: int) -> str:
    """Return one of the paths, "" where there is none."""
    candidates = sorted(paths)
    return candidates[number % len(candidates)] if candidates else ""


def files(model: Contents) -> list[str]:
    return [path for path in model if is_file(model, path)]


class Programs(RuleBasedStateMachine):
    """Programs of this host; `model` is what they did."""

    def __init__(self) -> None:
        super().__init__()
        self.workspace = ModelledWorkspace()
        self.mount = ModelledMount(self.workspace)
        self.model: Contents = {}
        self.last_content = 0
        self.changed_here = False

    def new_content(self) -> int:
        self.last_content += 1
        return self.last_content

    def gives_up(self, path: str) -> None:
        """A program overwrites or removes what it sees there."""
        self.changed_here = True

    def see(self) -> None:
        """Let `model` be what programs see just now."""

    def begin(self) -> None:
        """Let the workspace have something that both sides may change."""
        self.make_directory("d")
        for path in ("a", "b", "d/a"):
            self.write(path, closes=True)
        self.settle()

    def send_rest(self) -> None:
        self.mount.close_all()
        self.mount.send_all()

    @rule(path=PATHS, closes=st.booleans())
    def write(self, path: str, closes: bool) -> None:
        self.see()
        if is_directory(self.model, above(path)) and not is_directory(self.model, path):
            self.gives_up(path)
            self.model[path] = self.new_content()
            self.mount.write(path, self.last_content, closes=closes)

    @rule(path=PATHS)
    def make_directory(self, path: str) -> None:
        self.see()
        if is_directory(self.model, above(path)) and path not in self.model:
            self.changed_here = True
            self.model[path] = None
            self.mount.mkdir(path)

    @rule(number=NUMBERS)
    def remove(self, number: int) -> None:
        self.see()
        self.remove_at(chosen((path for path in self.model if not has_children(self.model, path)), number))

    def remove_at(self, path: str) -> None:
        if path:
            self.gives_up(path)
            self.mount.remove(path, directory=self.model.pop(path) is None)

    @rule(number=NUMBERS, other=PATHS)
    def rename(self, number: int, other: str) -> None:
        self.see()
        path = chosen(self.model, number)
        if can_rename(self.model, path, other):
            self.gives_up(other)
            self.rename_here(path, other)

    @rule(number=NUMBERS)
    def rename_past_a_namesake(self, number: int) -> None:
        """Into a folder that has its old name already, which is in the way."""
        self.see()
        way = chosen(
            (
                f"{path}:{other}"
                for path in self.model
                for other in PLACES
                if name_of(path) != name_of(other) and above(path) != above(other)
                if f"{above(other)}/{name_of(path)}".lstrip("/") in self.model
                if can_rename(self.model, path, other)
            ),
            number,
        )
        if way:
            path, _, other = way.partition(":")
            self.gives_up(other)
            self.rename_here(path, other)

    def rename_here(self, path: str, other: str) -> None:
        """What is saved over another file is its next version; else the node goes along."""
        source, target = self.mount.find(path), self.mount.find(other)
        assert source is not None
        node = source.node
        if target is not None and target.node is not None and target.is_file and source.has_whole_content():
            node = target.node
        self.model = renamed(self.model, path, other)
        self.mount.rename(path, other)
        assert source.node == node

    @rule(number=NUMBERS, another=NUMBERS)
    def exchange(self, number: int, another: int) -> None:
        self.see()
        path, other = chosen(self.model, number), chosen(self.model, another)
        nested = f"{path}/".startswith(f"{other}/") or f"{other}/".startswith(f"{path}/")
        if not nested:
            self.changed_here = True
            aside = renamed(self.model, path, "aside")
            self.model = renamed(renamed(aside, other, path), "aside", other)
            self.mount.rename(path, other, RenameFlag.EXCHANGE)

    @rule(number=NUMBERS)
    def save(self, number: int) -> None:
        self.see()
        path = chosen(files(self.model), number)
        if path and "t" not in self.model:
            self.write("t", closes=True)
            self.gives_up(path)
            self.rename_here("t", path)

    @rule(number=NUMBERS, another=NUMBERS, restarts=st.booleans())
    def save_over_another(self, number: int, another: int, restarts: bool) -> None:
        """A file with a node of its own, which is left behind then."""
        self.see()
        path = chosen(files(self.model), number)
        other = chosen((each for each in files(self.model) if each != path), another)
        if other:
            self.write(path, closes=True)
            self.gives_up(other)
            self.rename_here(path, other)
            if restarts:
                self.mount.restart()

    @rule(number=NUMBERS)
    def save_by_way_of_a_backup(self, number: int) -> None:
        self.see()
        path = chosen(files(self.model), number)
        saved = self.mount.find(path)
        if saved is not None and path and "t" not in self.model:
            node, was_at_home = saved.node, saved.is_at_home
            self.rename_here(path, "t")
            self.write(path, closes=True)
            self.see()
            self.remove_at("t")
            after = self.mount.find(path)
            assert after is not None
            assert after.node == (node if was_at_home else None)

    @rule(number=NUMBERS)
    def send_one(self, number: int) -> None:
        waiting = list(self.mount.tree.pending.values())
        if waiting:
            self.mount.send(waiting[number % len(waiting)])

    @rule()
    def restart(self) -> None:
        self.mount.restart()

    @invariant()
    def what_the_remote_has_to_learn_is_in_the_queue(self) -> None:
        tree = self.mount.tree
        for inode in tree.inodes.values():
            if inode.is_root:
                continue
            step = next_step(tree.situation(inode))
            assert step is Step.NOTHING or inode.ino in tree.pending, f"{inode}: {step}"

    @invariant()
    def indexes_are_what_the_entries_say(self) -> None:
        tree = self.mount.tree
        based = [inode for inode in tree.inodes.values() if inode.base is not None]
        assert {inode.node: inode for inode in based} == tree.by_node
        assert len(based) == len(tree.by_node)
        for place, inode in tree.displaced.items():
            assert inode.base is not None
            assert place == (inode.base.parent, inode.base.name)
            assert not inode.is_at_home

    def settle(self) -> None:
        """Let everything be sent, and compare."""
        raise NotImplementedError

    def teardown(self) -> None:
        try:
            self.settle()
        finally:
            self.mount.close()


class Coalescing(Programs):
    """One host alone: the workspace becomes what the programs left, by no call more than that takes."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[NodeId, RemoteNode] = {}
        """What the workspace had when everything was sent."""
        self.sent_between = False
        self.begin()

    @rule(number=NUMBERS)
    def send_one(self, number: int) -> None:
        self.sent_between = True
        super().send_one(number)

    @rule()
    def settle(self) -> None:
        self.send_rest()
        assert self.workspace.tree() == self.model
        assert self.mount.noticed + self.mount.conflicts.noticed == 0
        if not self.sent_between:
            self.check_calls(self.workspace.nodes)
        self.nodes = dict(self.workspace.nodes)
        self.workspace.calls.clear()
        self.mount.spares = 0
        self.sent_between = False

    def check_calls(self, nodes: dict[NodeId, RemoteNode]) -> None:
        calls = self.workspace.calls
        kept = [(self.nodes[node], nodes[node]) for node in self.nodes.keys() & nodes.keys()]
        assert calls["create"] == len(nodes.keys() - self.nodes.keys())
        assert calls["trash"] == len(self.nodes.keys() - nodes.keys())
        assert calls["update"] == sum(before.version != after.version for before, after in kept)
        ways = sum((before.parent != after.parent) + (before.name != after.name) for before, after in kept)
        assert ways <= calls["rename"] + calls["move"] <= ways + 2 * self.mount.spares

    @invariant()
    def programs_see_what_they_did(self) -> None:
        assert self.mount.contents() == self.model

    @invariant()
    def every_place_that_was_left_is_known(self) -> None:
        inodes = self.mount.tree.inodes.values()
        away = [inode for inode in inodes if inode.base and not inode.is_root and not inode.is_at_home]
        assert set(self.mount.tree.displaced.values()) == set(away)


class BothSides(Programs):
    """Others change the workspace as well, and the news of it come late, several times, or in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.given_up: set[int] = set()
        """Contents that somebody saw and let go."""
        self.changed_there = False
        self.news: list[NodeId] = []
        self.noticed = 0
        self.begin()

    def see(self) -> None:
        self.model = self.mount.contents()

    def gives_up(self, path: str) -> None:
        super().gives_up(path)
        content = self.model.get(path)
        if content is not None:
            self.given_up.add(content)

    def node_at(self, path: str) -> RemoteNode | None:
        folder = ROOT_NODE
        found: RemoteNode | None = None
        for name in path.split("/") if path else []:
            found = self.workspace.at((folder, name))
            if found is None:
                return None
            folder = found.id
        return found

    def folder_at(self, path: str) -> NodeId | None:
        if not path:
            return ROOT_NODE
        found = self.node_at(path)
        return found.id if found is not None and found.kind is NodeKind.FOLDER else None

    def tell(self, node: NodeId) -> None:
        self.changed_there = True
        self.news.append(node)

    @rule(path=PATHS)
    def others_write(self, path: str) -> None:
        folder, node = self.folder_at(above(path)), self.node_at(path)
        if node is not None and node.kind is NodeKind.FILE:
            self.given_up.add(self.workspace.contents[node.id])
            self.tell(self.workspace.update(node.id, self.new_content()).id)
        elif node is None and folder is not None:
            self.tell(self.workspace.create(folder, name_of(path), self.new_content()).id)

    @rule(path=PATHS)
    def others_make_a_directory(self, path: str) -> None:
        folder = self.folder_at(above(path))
        if folder is not None and self.node_at(path) is None:
            self.tell(self.workspace.create(folder, name_of(path), None).id)

    @rule(number=NUMBERS)
    def others_remove(self, number: int) -> None:
        node = self.node_at(chosen(self.workspace.tree(), number))
        if node is not None:
            self.trash(node)

    def trash(self, node: RemoteNode) -> None:
        for below in self.workspace.below(node.id):
            self.trash(below)
        self.given_up.add(self.workspace.contents.get(node.id, 0))
        self.workspace.trash(node.id)
        self.tell(node.id)

    @rule(number=NUMBERS)
    def others_edit(self, number: int) -> None:
        path = chosen(files(self.workspace.tree()), number)
        if path:
            self.others_write(path)

    @rule(number=NUMBERS, closes=st.booleans())
    def both_edit(self, number: int, closes: bool) -> None:
        path = chosen({*files(self.mount.contents())} & {*files(self.workspace.tree())}, number)
        if path:
            self.others_write(path)
            self.write(path, closes)

    @rule(number=NUMBERS, other=PATHS)
    def others_rename(self, number: int, other: str) -> None:
        node, folder = self.node_at(chosen(self.workspace.tree(), number)), self.folder_at(above(other))
        name = name_of(other)
        if node is None or folder is None or self.node_at(other) or self.workspace.lies_in(folder, node.id):
            return
        if node.parent != folder and not self.workspace.at((folder, node.name)):
            self.workspace.move(node.id, folder)
        if self.workspace.nodes[node.id].parent == folder and self.workspace.nodes[node.id].name != name:
            self.workspace.rename(node.id, name)
        self.tell(node.id)

    @precondition(lambda self: bool(self.news))
    @rule(number=NUMBERS, again=st.booleans())
    def hear(self, number: int, again: bool) -> None:
        node = self.news[number % len(self.news)]
        if not again:
            self.news.remove(node)
        unsent = self.mount.dirty()
        self.mount.hear(node)
        assert self.mount.dirty() == unsent, "what was not sent is neither taken over nor dropped"
        seen = self.mount.contents()
        self.mount.hear(node)
        assert self.mount.contents() == seen, "news that come twice change nothing"

    @rule()
    def settle(self) -> None:
        for _ in range(4):
            self.mount.compare_all()
            self.send_rest()
        self.news.clear()
        assert self.mount.contents() == self.workspace.tree()
        there = {content for node, content in self.workspace.contents.items() if node in self.workspace.nodes}
        written = set(range(1, self.last_content + 1))
        assert written - self.given_up <= there, "nothing is lost"
        noticed = self.mount.noticed + self.mount.conflicts.noticed
        if not (self.changed_here and self.changed_there):
            assert noticed == self.noticed, "where one side changed nothing there is no conflict"
        self.noticed = noticed
        self.changed_here = self.changed_there = False


CHOSEN = settings(
    max_examples=EXAMPLES,
    derandomize=not IS_THOROUGH,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
Coalescing.TestCase.settings = BothSides.TestCase.settings = CHOSEN
TestCoalescing = Coalescing.TestCase
TestBothSides = BothSides.TestCase
