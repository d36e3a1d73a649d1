"""A workspace of its own on a real service, for the contract: made before and removed afterwards.

Asked for by MOUNTFS_CONTRACT_URL (https://api.fast.io/current) and MOUNTFS_CONTRACT_TOKEN, a token that may
create workspaces in the first organisation that it reaches, or in MOUNTFS_CONTRACT_ORG.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import httpx

URL: Final = "MOUNTFS_CONTRACT_URL"
TOKEN: Final = "MOUNTFS_CONTRACT_TOKEN"
ORG: Final = "MOUNTFS_CONTRACT_ORG"


@dataclass(frozen=True)
class RealWorkspace:
    url: str
    token: str
    folder_name: str


def is_asked_for() -> bool:
    return bool(os.environ.get(URL) and os.environ.get(TOKEN))


@contextmanager
def temporary_workspace(url: str, token: str) -> Iterator[RealWorkspace]:
    """Give a fresh workspace, without intelligence, which would cost credits; remove it at the end."""
    base = url.rstrip("/") + "/"
    headers = {"authorization": f"Bearer {token}"}
    name = f"mountfs-contract-{uuid4().hex[:12]}"
    with httpx.Client(base_url=base, headers=headers, timeout=30) as client:
        org = os.environ.get(ORG) or _payload(client.get("orgs/list/"))["orgs"][0]["id"]
        form = {
            "folder_name": name,
            "name": name,
            "perm_join": "Only Org Owners",
            "perm_member_manage": "Admin or above",
            "intelligence": "false",
        }
        made = _payload(client.post(f"org/{org}/create/workspace/", data=form))["workspace"]
        try:
            yield RealWorkspace(base, token, name)
        finally:
            # Which text confirms is not published: the name that a person would be asked to type.
            for confirm in (name, str(made["id"])):
                if client.delete(f"workspace/{made['id']}/delete/", params={"confirm": confirm}).is_success:
                    break
            else:
                raise AssertionError(f"remove the workspace {name} by hand: the service did not")


def _payload(response: httpx.Response) -> Any:
    assert response.is_success, response.text
    body = response.json()
    return body.get("response", body)
