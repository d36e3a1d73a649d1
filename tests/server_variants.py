"""What a service may turn out to be: switches of the embedded server, for suites that run on each."""

import os
from typing import Final

from mountfs.server import read_behaviour
from mountfs.server.behaviour import Behaviour

VARIANTS: Final[dict[str, tuple[str, ...]]] = {
    "newer": (),
    "older": ("generation=older",),
    "terse answers": (
        "change_answer=nothing",
        "lock_answer=token",
        "ids=upper",
        "error_text=text",
        "reasons=absent",
    ),
    "bare ids and hashes of another kind": ("ids=bare", "hashes=md5", "next_cursor=top"),
    "no hashes": ("hashes=absent",),
    "uploads that take time": ("single_call=later", "upload_state_s=0.02", "chunk_again=ignored"),
    "strict uploads": ("chunk_again=refused", "failed_commit=spent", "empty_files=session"),
    "reads without ranges": ("ranges=false", "old_versions=pruned"),
    "reads that redirect": ("read_redirect=same",),
    "reads from another host": ("read_redirect=other",),
    "names in any case": ("names=folded", "rename_taken=conflict"),
    "folders in steps, with limits": ("tree_changes=in-steps", "max_depth=30", "max_children=2000"),
    "no list of the workspace, and pushes by a bare token": (
        *("inventory=false", "websocket=bare", "websocket_auth=false", "feed_lost=2"),
    ),
    "pushes that are lost": ("pushes_lost=2",),
    "pushes that there are none of": ("websocket=absent",),
    "listings that lag": ("visible_after_s=1", "folder_times=moving"),
    "locks that bind": ("locks=enforced", "dead_token=409", "heartbeat=default"),
    "locks that end with the version": ("lock_end=version", "lock_override=false"),
    "no precondition": ("if_version_id=ignored", "equal_bytes=version"),
    "a poll of times": ("poll_cursor=time", "activity=map", "org_feed=absent"),
    "news twice and out of order": ("news_twice=true", "news_reversed=true", "news_late_s=0.2"),
    "limits told otherwise": ("rate_headers=older", "rate_expires=text", "rate_limit=100000"),
    "limits that nobody tells": ("rate_headers=none", "rate_limit=100000", "polls_count=false"),
    "locks that end with the move": ("lock_end=move", "relock=renewed"),
    "names in one composition": ("names=composed", "rename_taken=broken"),
    "news of all that is below, none of purges": (
        *("tree_news=each", "purges_told=false", "org_feed=forbidden"),
    ),
    "preconditions that are refused": ("if_version_id=refused",),
    "what meets is numbered": (
        *("file_onto_file=numbered", "folder_onto_folder=numbered", "moved_onto_file=numbered"),
    ),
    "what meets keeps its name": (
        *("file_onto_file=numbered", "folder_onto_folder=numbered", "moved_onto_file=numbered"),
        "twins=true",
    ),
    "what meets is refused": (
        *("file_onto_file=refused", "folder_onto_folder=refused", "moved_onto_file=refused"),
        *("moved_folder=refused", "restore_gone=refused"),
    ),
    "small chunks, and notes that tell little": (*("chunk_mib=1", "note_sizes=absent", "note_reads=false"),),
    "a token that may not administer": ("token_mode=rw",),
}
"""What a mount is to work on."""

NOT_PLAYED: Final[dict[str, str]] = {
    "name_cut": "long names are no names of the service; t3_filesystem/test_open_questions.py",
    "infected": "a file that is not served; t2_server/test_behaviour.py",
    "dmca": "a file that is not served; t2_server/test_behaviour.py",
    "restricted": "a file that is not served; t2_server/test_behaviour.py",
    "upload_fails=assembly": "nothing is taken; t2_server/test_behaviour.py",
    "upload_fails=store": "nothing is taken; t2_server/test_behaviour.py",
    "empty_files=refused": "files without bytes stay here; t3_filesystem/test_open_questions.py",
    "session_life_s": "a session ends in the middle; t2_server/test_behaviour.py",
    "news_lost": "what is lost shows only after minutes; t2_server/test_behaviour.py",
    "token_mode=r": "nothing can be changed; t3_filesystem/test_open_questions.py",
    "member=false": "nothing can be done; t3_filesystem/test_open_questions.py",
    "payment=writes": "nothing can be changed; t3_filesystem/test_open_questions.py",
    "payment=all": "nothing can be read; t3_filesystem/test_open_questions.py",
    "workspace_state=archived": "nothing can be changed; t3_filesystem/test_open_questions.py",
    "workspace_state=suspended": "nothing can be done; t3_filesystem/test_open_questions.py",
    "gateway_before": "requests fail now and then; t3_filesystem/test_open_questions.py",
    "gateway_after": "changes fail now and then; t3_filesystem/test_open_questions.py",
}
"""Switches, or values of them, that no variant has: why, and the test that has them instead."""

CHOSEN: Final = os.environ.get("MOUNTFS_SERVER_VARIANT", "newer")
"""What the end-to-end tests run on: a variant, or several at once with " + " between their names;
`scripts/test-variants` runs them on each."""


def chosen_behaviour() -> Behaviour:
    """Return how the server of the chosen variant behaves, for tests that count what it costs."""
    return read_behaviour(_chosen())


def chosen_switches() -> tuple[str, ...]:
    """Return the options of the server's command line for the chosen variant."""
    return tuple(word for switch in _chosen() for word in ("--behave", switch))


def _chosen() -> tuple[str, ...]:
    return tuple(switch for name in CHOSEN.split(" + ") for switch in VARIANTS[name])
