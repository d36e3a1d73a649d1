"""Exclusive locks on files, each with a token and an end."""

import json
from collections.abc import Mapping
from math import ceil
from typing import Final

from mountfs.model.errors import LeaseHeld, LeaseNotHeld, LeaseNotOverridable
from mountfs.model.ids import LeaseToken, NodeId
from mountfs.model.remote import Lease, LeaseHolder
from mountfs.remotes.fastio import wire
from mountfs.remotes.fastio.capabilities import Capabilities
from mountfs.remotes.fastio.error_map import Answer, accepted
from mountfs.remotes.fastio.http import Http
from mountfs.remotes.fastio.request import Ask, Refusals, Repeat, form
from mountfs.remotes.fastio.workspace_calls import WorkspaceCalls

OF_ACQUIRING: Final = Refusals(conflict=LeaseHeld)
OF_OVERRIDING: Final = Refusals(conflict=LeaseNotOverridable, invalid=LeaseNotOverridable)
OF_HOLDING: Final = Refusals(absent=LeaseNotHeld, conflict=LeaseNotHeld, invalid=LeaseNotHeld)
CLOCK_ERROR_S: Final = 1.5
"""Both times that a duration is read from are told in whole seconds."""


class Leases(WorkspaceCalls):
    def __init__(
        self, http: Http, workspace_id: str, client_info: Mapping[str, str], capabilities: Capabilities
    ) -> None:
        super().__init__(http, workspace_id, client_info, capabilities)
        self._durations_s: dict[LeaseToken, float] = {}
        self._renews_those_of_others = False
        """To ask for a lock that another mount of the account has makes it last longer."""

    async def acquire_lease(self, node: NodeId, *, duration_s: float, holder: str) -> Lease:
        """As the port says; the duration is bounded to what the service takes. The lock of an attempt that
        is cancelled or ends in OutcomeUnknown may stay until it expires."""
        settings = self._http.settings
        asked_s = ceil(min(max(duration_s, settings.lease_min_s), settings.lease_max_s))
        fields = {
            "duration": str(asked_s),
            "client_info": json.dumps({**self._client_info, "device_name": holder}),
        }
        path = self._node_path(node, "lock")
        ask = Ask("POST", path, body=form(fields), repeat=Repeat.UNSENT, refusals=OF_ACQUIRING)
        if self._renews_those_of_others:
            # Whoever waits for the lock of a mount that died would keep it alive.
            there = await self.lease_holder(node)
            if there is not None and there.holder not in {"", holder}:
                raise LeaseHeld(f"{ask}: the lock is that of {there.holder}")
        answer = await self._http.call(ask)
        payload = accepted(answer, ask)
        told = wire.lease_holder(payload)
        if told is not None and told.holder and told.holder != holder and _names_a_device(payload):
            # The service takes a second mount of one account for the same holder, and gave it the same lock.
            self._renews_those_of_others = True
            raise LeaseHeld(f"{ask}: the lock is that of {told.holder}")
        lease = Lease(wire.lease_token(payload), granted_s(asked_s, payload, answer))
        self._durations_s[lease.token] = lease.duration_s
        self._held[node] = lease.token
        return lease

    async def renew_lease(self, node: NodeId, token: LeaseToken) -> Lease:
        body = form({"lock_token": token})
        ask = Ask(
            "POST", self._node_path(node, "lock", "heartbeat"), body=body, refusals=OF_HOLDING, paced=False
        )
        answer = await self._http.call(ask)
        known_s = self._durations_s.get(token, self._http.settings.lease_min_s)
        return Lease(token, granted_s(known_s, accepted(answer, ask), answer))

    async def release_lease(self, node: NodeId, token: LeaseToken) -> None:
        # The service does not read the body of a DELETE.
        query = {"lock_token": token}
        try:
            path = self._node_path(node, "lock")
            await self._http.payload(Ask("DELETE", path, query, refusals=OF_HOLDING, paced=False))
        except LeaseNotHeld:
            return
        finally:
            self._durations_s.pop(token, None)
            if self._held.get(node) == token:
                del self._held[node]

    async def lease_holder(self, node: NodeId) -> LeaseHolder | None:
        return wire.lease_holder(await self._http.payload(Ask("GET", self._node_path(node, "lock"))))

    async def override_lease(self, node: NodeId) -> None:
        """As the port says. How the service is asked for this is not published: the release of a lock without
        its token, by an administrator. A service that has another way says that the token is missing."""
        path = self._node_path(node, "lock")
        ask = Ask("DELETE", path, {"override": "true"}, refusals=OF_OVERRIDING)
        before = await self.lease_holder(node)
        try:
            await self._http.payload(ask)
        except LeaseNotOverridable as error:
            raise LeaseNotOverridable("the service has no way to end the lock of somebody else") from error
        after = await self.lease_holder(node)
        if before and after and (after.holder, after.since_ns) == (before.holder, before.since_ns):
            raise LeaseNotOverridable("the service took the request, but the file is still locked")


def _names_a_device(payload: wire.Wire) -> bool:
    """Tell whether the answer has what was told of the device that took the lock, not just of its user."""
    info = payload.get("lock_info")
    return isinstance(info, dict) and "device_name" in str(info.get("client_info"))


def granted_s(expected_s: float, payload: wire.Wire, answer: Answer) -> float:
    """Return how long the lock lasts: as expected, or shorter where the service's own clock says so.

    An end before the answer itself tells of a step of that clock, and nothing of the lock."""
    expiry_ns = wire.lease_expiry_ns(payload)
    if not expiry_ns or not answer.server_time_ns:
        return expected_s
    told_s = (expiry_ns - answer.server_time_ns) / 1e9
    return told_s if 0 < told_s < expected_s - CLOCK_ERROR_S else expected_s
