"""The account behind a credential, its organisations and their workspaces."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from mountfs.model.account import Account, NewWorkspace, Organisation, WorkspaceEntry
from mountfs.model.errors import (
    AccessDenied,
    NodeNotFound,
    ProtocolViolation,
    RemoteError,
    RequestRefused,
    WorkspaceUnknown,
)
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.http import Http
from mountfs.remotes.fastio.request import Ask, Repeat, form, path_of

PAGE: Final = 500
OPTIONAL: Final = (NodeNotFound, AccessDenied, RequestRefused, ProtocolViolation)
"""How a service says that it has no such route, or not for this credential."""

MEMBERS_JOIN: Final = "Only Org Owners"
ADMINS_MANAGE: Final = "Admin or above"


async def account(http: Http) -> Account:
    """Return who the credential belongs to. Raises CredentialRefused, RemoteUnavailable."""
    told = await http.payload(Ask("GET", path_of("user", "auth", "check")))
    scopes = await _if_there_is(http, "auth", "scopes")
    details = await _if_there_is(http, "user", "me", "details")
    user = details.get("user")
    user = user if isinstance(user, dict) else details
    names = (str(user.get(key) or "") for key in ("first_name", "last_name"))
    return Account(
        id=str(told.get("id") or user.get("id") or ""),
        name=" ".join(filter(None, names)),
        email=str(user.get("email_address") or user.get("email") or ""),
        auth_type=str(scopes.get("auth_type") or ""),
        scopes=tuple(wire.scope_list(scopes.get("scopes"))),
        may_write=wire.may_write_anywhere(scopes),
    )


async def _if_there_is(http: Http, *path: str) -> dict[str, Any]:
    try:
        return await http.payload(Ask("GET", path_of(*path)))
    except OPTIONAL:
        return {}


async def organisations(http: Http) -> list[Organisation]:
    """Return those that the account belongs to, and those that it is only a guest of."""
    found: dict[str, Organisation] = {}
    for path, external in ((("orgs", "list"), False), (("orgs", "list", "external"), True)):
        try:
            async for row in _rows(http, "orgs", *path):
                organisation = organisation_of(row, external=external)
                found.setdefault(organisation.id, organisation)
        except OPTIONAL:
            continue  # a credential for one workspace may see no organisation
    return list(found.values())


async def workspaces(http: Http) -> list[WorkspaceEntry]:
    """Return every workspace that the credential reaches."""
    known = {each.id: each for each in await organisations(http)}
    rows = {str(row["id"]): (row, "") async for row in _rows(http, "workspaces", "workspaces", "all")}
    for organisation in known.values():
        if organisation.external:
            continue
        try:
            async for row in _rows(http, "workspaces", "org", organisation.id, "list", "workspaces"):
                rows.setdefault(str(row["id"]), (row, organisation.id))
        except OPTIONAL:
            continue
    entries = [entry_of(row, known, org_id) for row, org_id in rows.values()]
    return sorted(entries, key=lambda entry: (entry.folder_name or entry.name, entry.id))


async def reachable(http: Http) -> list[dict[str, Any]]:
    """Return the rows of all workspaces as they came, each once."""
    return [row async for row in _rows(http, "workspaces", "workspaces", "all")]


async def create_workspace(http: Http, organisation: Organisation, new: NewWorkspace) -> WorkspaceEntry:
    """Make a workspace. Raises NameTaken, NameRefused, AccessDenied, QuotaExceeded."""
    fields = {
        "folder_name": new.folder_name,
        "name": new.name,
        "perm_join": MEMBERS_JOIN,
        "perm_member_manage": ADMINS_MANAGE,
        # Without the field it is on where the plan allows.
        "intelligence": "true" if new.intelligence else "false",
    }
    if new.description:
        fields["description"] = new.description
    path = path_of("org", organisation.id, "create", "workspace")
    ask = Ask("POST", path, body=form(fields), repeat=Repeat.UNSENT)
    row = (await http.payload(ask)).get("workspace")
    if not isinstance(row, dict) or not row.get("id"):
        raise ProtocolViolation(f"{ask}: the answer names no workspace")
    return entry_of({**fields, **row}, {organisation.id: organisation}, organisation.id)


def chosen(organisations: list[Organisation], wanted: str | None) -> Organisation:
    """Return the organisation of that id, domain or name; without one the only one that is no other's.

    Raises WorkspaceUnknown.
    """
    own = [each for each in organisations if not each.external]
    if wanted is None and len(own) == 1:
        return own[0]
    if wanted is not None:
        for each in organisations:
            if wanted in (each.id, each.domain, each.name):
                return each
    names = ", ".join(each.domain or each.name or each.id for each in own) or "none"
    what = "name one by --org" if wanted is None else f"no organisation {wanted!r}"
    raise WorkspaceUnknown(f"{what}; this account belongs to: {names}")


async def _rows(http: Http, key: str, *path: str) -> AsyncIterator[dict[str, Any]]:
    """Yield the rows of a list that is counted by an offset, each once."""
    seen: set[str] = set()
    offset = 0
    while True:
        payload = await http.payload(Ask("GET", path_of(*path), {"limit": str(PAGE), "offset": str(offset)}))
        page = [dict(row) for row in wire.items(payload.get(key, [])) if row.get("id")]
        fresh = [row for row in page if str(row["id"]) not in seen]
        seen.update(str(row["id"]) for row in fresh)
        for row in fresh:
            yield row
        pagination = payload.get("pagination")
        if not fresh or not isinstance(pagination, dict) or not wire.truth(pagination.get("has_more")):
            return
        offset += len(page)


def organisation_of(row: Mapping[str, Any], *, external: bool) -> Organisation:
    member = row.get("member")
    return Organisation(
        id=str(row["id"]),
        name=str(row.get("name") or ""),
        domain=str(row.get("domain") or ""),
        external=external if member is None else not wire.truth(member),
    )


def entry_of(row: Mapping[str, Any], known: Mapping[str, Organisation], org_id: str) -> WorkspaceEntry:
    told = row.get("org") or row.get("org_id") or row.get("parent_org") or org_id
    told = told.get("id") if isinstance(told, dict) else told
    return WorkspaceEntry(
        id=str(row["id"]),
        folder_name=str(row.get("folder_name") or ""),
        name=str(row.get("name") or ""),
        organisation=known.get(str(told)),
        intelligence=_maybe(row.get("intelligence")),
        archived=_maybe(row.get("archived")),
    )


def _maybe(told: object) -> bool | None:
    try:
        return None if told is None else wire.truth(told)
    except RemoteError:
        return None
