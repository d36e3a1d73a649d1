"""Accounts and workspaces as text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mountfs.daemon.running import shown

if TYPE_CHECKING:
    from mountfs.model.account import Account, WorkspaceEntry


def summary(url: str, account: "Account") -> str:
    """Return who it is, and what the credential allows, in lines."""
    who = " ".join(filter(None, (account.name, f"<{account.email}>" if account.email else "")))
    lines = [
        f"service     {url}",
        f"user        {account.id}{'  ' + who if who else ''}",
        f"signed in   by {account.auth_type or 'a token'}",
        f"scopes      {', '.join(account.scopes) or 'not told'}",
        f"may write   {'yes' if account.may_write else 'no: mounts are read-only'}",
    ]
    return "\n".join(shown(line) for line in lines)


def workspace_lines(entries: Sequence["WorkspaceEntry"]) -> list[str]:
    """Return a table, one line for each."""
    rows = [
        (
            entry.folder_name or entry.name,
            entry.id,
            _organisation(entry),
            ", ".join(
                filter(None, (_word(entry.archived, "archived"), _word(entry.intelligence, "intelligence")))
            ),
        )
        for entry in entries
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
    return [
        shown(
            "  ".join(
                (*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])
            ).rstrip()
        )
        for row in rows
    ]


def _organisation(entry: "WorkspaceEntry") -> str:
    organisation = entry.organisation
    if organisation is None:
        return "-"
    name = organisation.domain or organisation.name or organisation.id
    return f"{name} (external)" if organisation.external else name


def _word(told: bool | None, word: str) -> str:
    return word if told else ""
