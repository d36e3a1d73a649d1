"""Step by step the remote becomes what is here, whatever both were before."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountfs.model.entry import Base, EntryKind
from mountfs.model.ids import NodeId, VersionId
from mountfs.rules.steps import Situation, Step, next_step

HERE, THERE = NodeId("2here"), NodeId("2there")
NODE = NodeId("2node")
BASE = Base(NODE, HERE, "name", VersionId("3one"))
SITUATION = Situation(EntryKind.FILE, True, HERE, "name", BASE, content_dirty=False, unsealed=False)

FOLDERS = st.sampled_from([HERE, THERE])
NAMES = st.sampled_from(["name", "other"])
BASES = st.none() | st.builds(Base, st.just(NODE), FOLDERS, NAMES)
SITUATIONS = st.builds(
    Situation,
    kind=st.sampled_from(EntryKind),
    linked=st.booleans(),
    parent_node=st.none() | FOLDERS,
    name=NAMES,
    base=BASES,
    content_dirty=st.booleans(),
    unsealed=st.booleans(),
)


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({}, Step.NOTHING),
        ({"base": None}, Step.UPLOAD_NEW),
        ({"base": None, "unsealed": True}, Step.WAIT_FOR_CLOSE),
        ({"base": None, "kind": EntryKind.DIRECTORY}, Step.CREATE_FOLDER),
        ({"base": None, "parent_node": None}, Step.WAIT_FOR_PARENT),
        ({"base": None, "linked": False}, Step.NOTHING),
        ({"linked": False}, Step.TRASH),
        ({"linked": False, "content_dirty": True, "parent_node": None}, Step.TRASH),
        ({"parent_node": THERE}, Step.MOVE),
        ({"parent_node": THERE, "name": "other", "content_dirty": True}, Step.MOVE),
        ({"name": "other"}, Step.RENAME),
        ({"name": "other", "content_dirty": True, "unsealed": True}, Step.RENAME),
        ({"content_dirty": True}, Step.UPLOAD_VERSION),
        ({"content_dirty": True, "unsealed": True}, Step.WAIT_FOR_CLOSE),
        ({"parent_node": None}, Step.WAIT_FOR_PARENT),
        ({"base": None, "kind": EntryKind.SYMLINK, "content_dirty": True}, Step.UPLOAD_NEW),
        ({"base": None, "kind": EntryKind.SYMLINK, "stays_here": True}, Step.NOTHING),
        ({"kind": EntryKind.SYMLINK, "content_dirty": True}, Step.UPLOAD_VERSION),
        ({"kind": EntryKind.SYMLINK, "content_dirty": True, "text": "told"}, Step.DESCRIBE),
        ({"content_dirty": True, "text": "told"}, Step.UPLOAD_VERSION),
        ({"text": "told"}, Step.DESCRIBE),
        ({"text": ""}, Step.NOTHING),
        ({"base": None, "kind": EntryKind.SPECIAL}, Step.NOTHING),
    ],
)
def test_next_step(changes: dict[str, object], step: Step) -> None:
    assert next_step(replace(SITUATION, **changes)) is step  # type: ignore[arg-type]  # the table mixes types


def done(before: Situation, step: Step) -> Situation:
    """Return the situation after the remote did the step."""
    if step is Step.TRASH:
        return replace(before, base=None)
    assert before.parent_node is not None, "without a folder there, nothing can be done there"
    if step in (Step.CREATE_FOLDER, Step.UPLOAD_NEW):
        made = Base(NODE, before.parent_node, before.name)
        return replace(before, base=made, content_dirty=False)
    assert before.base is not None
    if step is Step.MOVE:
        return replace(before, base=replace(before.base, parent=before.parent_node))
    if step is Step.RENAME:
        return replace(before, base=replace(before.base, name=before.name))
    assert step is Step.UPLOAD_VERSION
    return replace(before, content_dirty=False)


@given(SITUATIONS)
def test_steps_come_to_an_end_where_both_sides_agree(situation: Situation) -> None:
    taken = []
    while (step := next_step(situation)) not in {Step.NOTHING, Step.WAIT_FOR_CLOSE, Step.WAIT_FOR_PARENT}:
        taken.append(step)
        situation = done(situation, step)
    assert len(taken) == len(set(taken)), "no step is needed twice"
    if step is Step.WAIT_FOR_PARENT:
        assert situation.parent_node is None
    elif step is Step.WAIT_FOR_CLOSE:
        assert situation.unsealed
        assert situation.content_dirty or situation.base is None
    elif situation.kind is not EntryKind.SPECIAL:
        assert agrees(situation)


def agrees(situation: Situation) -> bool:
    if not situation.linked:
        return situation.base is None
    base = situation.base
    place = (situation.parent_node, situation.name)
    return base is not None and (base.parent, base.name) == place and not situation.content_dirty


@given(SITUATIONS)
def test_open_content_is_never_sent_and_local_things_never_leave(situation: Situation) -> None:
    step = next_step(situation)
    if situation.unsealed:
        assert step not in {Step.UPLOAD_NEW, Step.UPLOAD_VERSION} or situation.kind is EntryKind.DIRECTORY
    if situation.kind is EntryKind.SPECIAL:
        assert step is Step.NOTHING
    if situation.linked:
        assert step is not Step.TRASH
