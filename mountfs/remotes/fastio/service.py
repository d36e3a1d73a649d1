"""An account on a Fast.io-compatible service."""

import difflib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import trio

from mountfs.model.account import Account, NewWorkspace, WorkspaceEntry
from mountfs.model.errors import (
    AccessDenied,
    NodeNotFound,
    ProtocolViolation,
    RequestRefused,
    WorkspaceUnknown,
)
from mountfs.model.remote import Workspace
from mountfs.remotes.fastio import account, wire
from mountfs.remotes.fastio.capabilities import Capabilities
from mountfs.remotes.fastio.credential import Credential
from mountfs.remotes.fastio.http import Http
from mountfs.remotes.fastio.remote import FastioRemote
from mountfs.remotes.fastio.request import Ask, path_of
from mountfs.remotes.fastio.settings import FastioSettings, base_address

NAMES_SHOWN: Final = 5
IN_A_PATH: Final = re.compile(r"[\w-]+")


class FastioService:
    """Implements `mountfs.model.remote.Service`.

    `url` is the address of the API; a bare host gets its usual path. `client_info` (for example
    `client_version`) is shown to others beside our locks. Raises InsecureAddress for http to another
    machine, unless `allow_insecure`, and CredentialRefused for a token that cannot be one.
    """

    def __init__(
        self,
        url: str,
        credential: Credential | str,
        *,
        client_info: Mapping[str, str] = MappingProxyType({}),
        allow_insecure: bool = False,
        settings: FastioSettings = FastioSettings(),  # noqa: B008 - frozen
        sleep: Callable[[float], Awaitable[None]] = trio.sleep,
    ) -> None:
        base = base_address(url, allow_insecure=allow_insecure)
        self._http = Http(base, credential, settings, sleep=sleep)
        self._client_info = client_info

    @property
    def sent(self) -> Mapping[str, int]:
        """How many requests went out so far, by method and route."""
        return self._http.sent

    def tell_latencies(self, answered: Callable[[str, float], None]) -> None:
        """Call this from now on with the route of each request that was answered, and the seconds that it
        took; not of requests that the service may hold."""
        self._http.answered = answered

    def use_token(self, token: str) -> None:
        """Show this token from the next request on. Raises CredentialRefused for one that cannot be one."""
        self._http.use_token(token)

    async def check_credential(self) -> str:
        ask = Ask("GET", path_of("user", "auth", "check"))
        account = (await self._http.payload(ask)).get("id")
        if not isinstance(account, str | int) or account == "":
            raise ProtocolViolation(f"{ask}: the answer names no account")
        return str(account)

    async def find_workspace(self, name_or_id: str) -> Workspace:
        """As the port says; ids come before folder names, folder names before names."""
        row = await self._details(name_or_id) or await self._listed(name_or_id)
        workspace_id = str(row["id"])
        return Workspace(workspace_id, _shown_name(row), await self._is_writable(workspace_id))

    async def account(self) -> Account:
        """Return who the credential belongs to, and what it allows."""
        return await account.account(self._http)

    async def workspaces(self) -> list[WorkspaceEntry]:
        """Return every workspace that the credential reaches, in the order of their names."""
        return await account.workspaces(self._http)

    async def create_workspace(self, organisation: str | None, new: NewWorkspace) -> WorkspaceEntry:
        """Make a workspace in the organisation of this id, domain or name; None: in the only one.

        Raises WorkspaceUnknown for the organisation, NameTaken, NameRefused, AccessDenied, QuotaExceeded.
        """
        chosen = account.chosen(await account.organisations(self._http), organisation)
        return await account.create_workspace(self._http, chosen, new)

    def remote(self, workspace_id: str, *, capabilities: Capabilities | None = None) -> FastioRemote:
        """As the port says; `capabilities`: what is known of the service, and takes what is found out."""
        known = capabilities if capabilities is not None else Capabilities()
        return FastioRemote(self._http, workspace_id, self._client_info, known)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _details(self, name_or_id: str) -> dict[str, Any] | None:
        """Return the workspace that the service finds under this word in a path, or None."""
        if not IN_A_PATH.fullmatch(name_or_id):
            return None
        try:
            payload = await self._http.payload(Ask("GET", path_of("workspace", name_or_id, "details")))
        except (NodeNotFound, AccessDenied, RequestRefused):
            return None
        row = payload.get("workspace")
        return row if isinstance(row, dict) and row.get("id") else None

    async def _listed(self, name_or_id: str) -> dict[str, Any]:
        reachable = await account.reachable(self._http)
        for key in ("id", "folder_name", "name"):
            matches = [row for row in reachable if str(row.get(key)) == name_or_id]
            if len(matches) > 1:
                ids = ", ".join(str(row["id"]) for row in matches)
                raise WorkspaceUnknown(f"several workspaces are named {name_or_id!r}; use one id of {ids}")
            if matches:
                return matches[0]
        raise WorkspaceUnknown(f"no workspace {name_or_id!r}; {_near(name_or_id, reachable)}")

    async def _is_writable(self, workspace_id: str) -> bool:
        try:
            scopes = await self._http.payload(Ask("GET", path_of("auth", "scopes")))
        except (NodeNotFound, AccessDenied, RequestRefused, ProtocolViolation):
            return True
        return wire.may_write(scopes, workspace_id)


def _shown_name(row: Mapping[str, Any]) -> str:
    return str(row.get("folder_name") or row.get("name") or row["id"])


def _near(wanted: str, reachable: Sequence[Mapping[str, Any]]) -> str:
    names = [_shown_name(row) for row in reachable]
    shown = difflib.get_close_matches(wanted, names, NAMES_SHOWN, cutoff=0.4) or names[:NAMES_SHOWN]
    return f"reachable: {', '.join(shown)}" if shown else "this token reaches none"
