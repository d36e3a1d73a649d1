"""What an account on a service is, and what it reaches."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """`name` and `email` are "" where the credential may not see them. `scopes` are as the service tells:
    `entity_type:entity_id:mode`; `may_write` is whether any of them lets something be changed."""

    id: str
    name: str
    email: str
    auth_type: str
    scopes: tuple[str, ...]
    may_write: bool


@dataclass(frozen=True, slots=True)
class Organisation:
    """`external`: it is reached only through one of its workspaces."""

    id: str
    name: str
    domain: str
    external: bool


@dataclass(frozen=True, slots=True)
class WorkspaceEntry:
    """One row of the list of workspaces; None is what the service does not tell."""

    id: str
    folder_name: str
    name: str
    organisation: Organisation | None
    intelligence: bool | None
    archived: bool | None


@dataclass(frozen=True, slots=True)
class NewWorkspace:
    """`intelligence`: the service reads the content of every file, which costs credits for each page."""

    folder_name: str
    name: str
    description: str = ""
    intelligence: bool = False
