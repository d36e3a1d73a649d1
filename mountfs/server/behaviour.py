"""The switches of the server: where the specification leaves the service's behaviour open, or tells of two.

Each switch is read at one place. The defaults are the newer generation of the service, as far as it is
measured; `generation=older` changes the defaults of several switches at once, and any may be given beside it.
"""

import difflib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

OLDER: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "envelope": "response",
        "result": "word",
        "error_codes": "class",
        "error_text": "message",
        "validation_status": 400,
        "scope_status": 401,
        "times": "iso",
        "listing": "items",
        "next_cursor": "pagination",
        "activity": "map",
        "inventory": False,
        "org_feed": "absent",
        "websocket": "token",
        "websocket_auth": False,
        "if_version_id": "ignored",
        "release_token": "anywhere",
        "rate_headers": "older",
    }
)
"""What `generation=older` changes: the wire as the older sources describe it."""


class BehaviourRefused(Exception):
    """No such switch, or no such value; the message says which there are."""


class Behaviour(BaseModel):
    """Every switch with its default."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    generation: Literal["newer", "older"] = Field(
        default="newer", description="defaults of the switches as a set"
    )

    # How answers look.
    envelope: Literal["flat", "response"] = Field(
        default="flat", description="where the payload of a success lies"
    )
    result: Literal["boolean", "word"] = Field(default="boolean", description="true and false, or yes and no")
    error_codes: Literal["specific", "class"] = Field(
        default="specific", description="codes of each place, or the four-digit classes as text"
    )
    error_text: Literal["both", "text", "message"] = Field(
        default="both", description="which key has the words"
    )
    reasons: Literal["told", "absent"] = Field(
        default="told", description="whether errors have params.reason"
    )
    validation_status: Literal[406, 400] = Field(default=406, description="status of a refused field")
    scope_status: Literal[403, 401] = Field(default=403, description="status where a scope does not fit")
    times: Literal["text", "iso"] = Field(default="text", description="2026-05-18 19:26:25 UTC, or ISO 8601")
    ids: Literal["hyphens", "bare", "upper"] = Field(
        default="hyphens", description="how OpaqueIds are spelled"
    )
    listing: Literal["array", "items"] = Field(
        default="array", description="nodes as an array or as {count, items}"
    )
    next_cursor: Literal["both", "top", "pagination"] = Field(
        default="both", description="where a page names the next"
    )
    change_answer: Literal["node", "nothing"] = Field(
        default="node", description="whether a change answers with the changed node"
    )
    lock_answer: Literal["full", "token"] = Field(
        default="full", description="whether locks tell more than the token"
    )
    activity: Literal["array", "map"] = Field(default="array", description="layout of the keys of a poll")
    hashes: Literal["sha256", "md5", "absent"] = Field(
        default="sha256", description="which hash a node tells"
    )
    note_sizes: Literal["told", "absent"] = Field(default="told", description="whether notes tell a size")

    # Names, places and versions.
    names: Literal["exact", "folded", "composed"] = Field(
        default="exact", description="equal names: byte for byte, without regard to case, or in NFC"
    )
    name_cut: int = Field(
        default=0, ge=0, le=255, description="longer names of files are cut to this; 0: refused above 255"
    )
    file_onto_file: Literal["version", "numbered", "refused"] = Field(
        default="version", description="an upload that meets a file of its name"
    )
    folder_onto_folder: Literal["existing", "numbered", "refused"] = Field(
        default="existing", description="createfolder that meets a folder of its name"
    )
    moved_onto_file: Literal["trash", "numbered", "refused"] = Field(
        default="trash",
        description="a moved, copied or restored file that meets a file: that one goes to the trash",
    )
    moved_folder: Literal["numbered", "refused"] = Field(
        default="numbered",
        description="a moved, copied or restored node that meets another, one of them a folder",
    )
    rename_taken: Literal["refused", "conflict", "broken"] = Field(
        default="refused", description="a rename onto a name in use: 406, 409, or 500 as before 2026-06-14"
    )
    if_version_id: Literal["honoured", "ignored", "refused"] = Field(
        default="honoured", description="the precondition of a node's update"
    )
    failed_commit: Literal["kept", "spent"] = Field(
        default="kept", description="whether an upload can be placed after its precondition failed"
    )
    equal_bytes: Literal["same", "version"] = Field(
        default="same", description="whether equal bytes leave the version as it is"
    )
    restore_gone: Literal["top", "refused"] = Field(
        default="top", description="a restore into a folder that is gone"
    )
    twins: bool = Field(
        default=False, description="whether what would be numbered keeps its name: two nodes have it then"
    )
    tree_changes: Literal["whole", "in-steps"] = Field(
        default="whole",
        description="whether a folder goes to the trash, comes back and is copied at once, or bit by bit",
    )
    max_depth: int = Field(default=0, ge=0, description="how deep folders may lie; 0: as deep as you like")
    max_children: int = Field(default=0, ge=0, description="how many children a folder may have; 0: any")
    folder_times: Literal["still", "moving"] = Field(
        default="still", description="whether a folder's modified changes with its children"
    )

    # Listings and content.
    inventory: bool = Field(default=True, description="whether the workspace can be listed as a whole")
    visible_after_s: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="how long new nodes are missing in listings, inventory and recent",
    )
    ranges: bool = Field(default=True, description="whether /read/ honours Range")
    old_versions: Literal["kept", "pruned"] = Field(
        default="kept", description="whether the bytes of a replaced version can still be read"
    )
    read_redirect: Literal["none", "same", "other"] = Field(
        default="none", description="/read/ redirects to the same host, or to another name of it"
    )
    note_reads: bool = Field(default=True, description="whether /read/ gives the text of a note")
    infected: str = Field(
        default="", description="names (a pattern) of files that are flagged and not served"
    )
    dmca: str = Field(default="", description="names of files that are taken down")
    restricted: str = Field(default="", description="names of files that are restricted")

    # Uploads.
    single_call: Literal["at-once", "later"] = Field(
        default="at-once", description="whether a single call names the file it made"
    )
    upload_state_s: float = Field(
        default=0.0, ge=0, le=600, description="how long each state of an upload lasts behind its last chunk"
    )
    upload_fails: Literal["never", "assembly", "store"] = Field(
        default="never", description="where uploads fail"
    )
    chunk_mib: int = Field(default=64, ge=1, le=64, description="largest chunk, in MiB")
    chunk_again: Literal["replaces", "ignored", "refused"] = Field(
        default="replaces", description="a chunk of an order that has arrived before"
    )
    empty_files: Literal["taken", "session", "refused"] = Field(
        default="taken",
        description="files without bytes: in any way, only by a session without chunks, never",
    )
    session_life_s: int = Field(
        default=7 * 86400, ge=1, description="how long an untouched upload session is kept"
    )

    # Locks.
    locks: Literal["advisory", "enforced"] = Field(
        default="advisory", description="whether a lock refuses the changes of others"
    )
    relock: Literal["refused", "renewed"] = Field(
        default="refused",
        description="a second lock by the user who holds it: refused, or the same lock again",
    )
    heartbeat: Literal["whole", "default"] = Field(
        default="whole", description="a heartbeat gives the asked duration again, or 300 s"
    )
    dead_token: Literal[404, 409] = Field(
        default=404, description="status for a lock token that holds no more"
    )
    lock_override: bool = Field(default=True, description="whether an administrator can end a lock")
    lock_end: Literal["time", "version", "move"] = Field(
        default="time", description="what ends a lock beside release and time: new content, or a new place"
    )
    release_token: Literal["query", "anywhere"] = Field(
        default="query", description="where a release looks for its token"
    )

    # Changes.
    poll_cursor: Literal["opaque", "time"] = Field(
        default="opaque", description="lastactivity is a position, or a time in seconds"
    )
    news_lost: int = Field(default=0, ge=0, description="every n-th piece of news is not told; 0: all are")
    tree_news: Literal["one", "each"] = Field(
        default="one",
        description="whether what happens to a folder is told of the folder, or of all that is below it too",
    )
    news_twice: bool = Field(
        default=False, description="whether each piece of news is told again at the next poll"
    )
    news_reversed: bool = Field(default=False, description="whether the last comes first")
    news_late_s: float = Field(
        default=0.0, ge=0, le=600, description="how much later than the change news is told"
    )
    org_feed: Literal["open", "forbidden", "absent"] = Field(
        default="open", description="whether the change feed of the organisation can be read"
    )
    websocket: Literal["both", "token", "bare", "absent"] = Field(
        default="both", description="how the address of the WebSocket carries its token, if there is one"
    )
    websocket_auth: bool = Field(
        default=True, description="whether there are tokens for the WebSocket alone; no: the bearer opens it"
    )
    pushes_lost: int = Field(
        default=0, ge=0, description="every n-th message of the WebSocket is not sent; 1: none is"
    )
    feed_lost: int = Field(
        default=0, ge=0, description="every n-th row is missing in the change feed of the organisation"
    )
    purges_told: bool = Field(default=True, description="whether anything tells of purges")

    # Limits, credentials, gateways.
    token_mode: Literal["rwa", "rw", "r"] = Field(default="rwa", description="what the owner's token may do")
    member: bool = Field(
        default=True, description="whether the account is a member of its workspaces; no: 401, 10545"
    )
    rate_limit: int = Field(
        default=0, ge=0, description="requests in each 10 s of a credential; 0: unlimited"
    )
    rate_headers: Literal["newer", "older", "none"] = Field(
        default="newer", description="which headers tell of the limit"
    )
    rate_expires: Literal["epoch", "text"] = Field(default="epoch", description="how they tell when it ends")
    polls_count: bool = Field(default=True, description="whether long polls count towards the limit")
    payment: Literal["paid", "writes", "all"] = Field(
        default="paid", description="what is refused with 402: nothing, writes, or reads of content as well"
    )
    workspace_state: Literal["active", "archived", "suspended"] = Field(
        default="active", description="archived refuses changes, suspended everything"
    )
    gateway_before: int = Field(
        default=0, ge=0, description="every n-th request is answered 502 and not acted upon"
    )
    gateway_after: int = Field(default=0, ge=0, description="every n-th change is made and answered 504")

    def flags_of(self, name: str) -> tuple[str, ...]:
        """Which of the flags `infected`, `dmca` and `restricted` a file of this name has."""
        patterns = {"infected": self.infected, "dmca": self.dmca, "restricted": self.restricted}
        return tuple(flag for flag, pattern in patterns.items() if pattern and fnmatchcase(name, pattern))

    @model_validator(mode="before")
    @classmethod
    def _of_its_generation(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("generation") == "older":
            return {**OLDER, **given}
        return given


def read_behaviour(switches: Iterable[str]) -> Behaviour:
    """The behaviour that `KEY=VALUE` texts ask for; of a key given twice the last counts. Raises
    BehaviourRefused."""
    given: dict[str, str | int] = {}
    for switch in switches:
        key, separator, value = switch.partition("=")
        if not separator:
            raise BehaviourRefused(f"{switch!r} is not KEY=VALUE")
        if key not in Behaviour.model_fields:
            raise BehaviourRefused(f"no switch {key!r}{_near(key)}")
        # The numbers among the words of a choice do not come as text.
        given[key] = int(value) if value.isascii() and value.isdigit() else value
    try:
        return Behaviour.model_validate(given)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        raise BehaviourRefused(f"{key}={given.get(key)}: {allowed(key)} is expected") from error


def allowed(key: str) -> str:
    """What a switch can be set to, in words."""
    schema = Behaviour.model_json_schema()["properties"][key]
    if "enum" in schema:
        return " or ".join(str(value) for value in schema["enum"])
    if schema["type"] == "boolean":
        return "true or false"
    if schema["type"] == "string":
        return "a pattern as *.exe"
    return _range_of(schema, "a whole number" if schema["type"] == "integer" else "a number")


def described() -> list[tuple[str, str]]:
    """A row for each switch: its key with the values, the default first marked, and what it is about."""
    return [
        (f"{key}={allowed(key)}", f"{field.description}; default {_default_of(field.default)}")
        for key, field in Behaviour.model_fields.items()
    ]


def _default_of(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value == "" else str(value)


def _range_of(schema: Mapping[str, Any], words: str) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    return f"{words} from {least:g} to {most:g}" if most is not None else f"{words} of at least {least}"


def _near(key: str) -> str:
    near = difflib.get_close_matches(key, Behaviour.model_fields, 3)
    return f"; did you mean {' or '.join(near)}?" if near else "; serve --help lists them"
