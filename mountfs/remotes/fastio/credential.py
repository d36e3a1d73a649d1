"""The bearer token of requests: a fixed one, or that of a login, which is renewed."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from mountfs.model.errors import CredentialRefused, LoginEnded, RemoteUnavailable
from mountfs.model.login import Login, LoginStore

log = logging.getLogger(__name__)

Renew = Callable[[Login], Awaitable[Login]]
"""Asks the service for new tokens. Raises LoginEnded where it gives none, RemoteUnavailable."""


class Credential(Protocol):
    """Both calls may be made by many tasks at once, and be cancelled at any time."""

    async def token(self) -> str:
        """Return the token to use now. Raises CredentialRefused, RemoteUnavailable, StorageError."""
        ...

    async def instead_of(self, refused: str) -> str | None:
        """Return another token than the one that the service just refused, None where there is no other.

        Raises as `token`.
        """
        ...


class FixedToken:
    """Implements Credential. Raises CredentialRefused for what cannot be a token."""

    def __init__(self, token: str) -> None:
        self._token = checked_token(token)

    async def token(self) -> str:
        return self._token

    async def instead_of(self, refused: str) -> str | None:
        return None


class LoginToken:
    """Implements Credential for a stored login, which other processes may renew as well.

    It is renewed before its end, and after a refusal. While the service cannot be asked for a new token, the
    old one is used as long as it lives.
    """

    def __init__(
        self, login: Login, store: LoginStore, renew: Renew, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._login = login
        self._store = store
        self._ask = renew
        self._clock = clock
        self._one = trio.Lock()
        self._dead = ""
        """A refresh token that the service took no more: asked once, not with each request."""

    async def token(self) -> str:
        if self._login.is_to_be_renewed(self._clock()):
            async with self._one:
                if self._login.is_to_be_renewed(self._clock()):
                    await self._renew_in_time()
        return checked_token(self._login.access_token)

    async def instead_of(self, refused: str) -> str | None:
        async with self._one:
            if self._login.access_token == refused:
                await self._renewed(refused)
            token = self._login.access_token
        return checked_token(token) if token != refused else None

    async def _renew_in_time(self) -> None:
        try:
            await self._renewed(self._login.access_token)
        except (RemoteUnavailable, LoginEnded) as error:
            if self._login.has_ended(self._clock()):
                raise
            log.warning("the login could not be renewed yet: %s", error.message)

    async def _renewed(self, old: str) -> None:
        """Take what another process stored meanwhile, else ask for new tokens and store them."""
        lock = self._store.exclusive()
        await trio.to_thread.run_sync(lock.__enter__, abandon_on_cancel=False)
        try:
            stored = await trio.to_thread.run_sync(self._store.load)
            if stored is None:
                raise LoginEnded("somebody signed out here")
            if stored.access_token != old:
                self._login = stored
                return
            if not stored.refresh_token:
                return
            if stored.refresh_token == self._dead:
                raise LoginEnded("the login has ended")
            try:
                self._login = await self._ask(stored)
            except LoginEnded:
                self._dead = stored.refresh_token
                raise
            with trio.CancelScope(shield=True):
                # The old refresh token may work no more.
                await trio.to_thread.run_sync(self._store.save, self._login)
            log.info("the login was renewed")
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(lock.__exit__, None, None, None)


def checked_token(token: str) -> str:
    """Return the token. Raises CredentialRefused for what cannot be one."""
    if not token.isascii() or not token.isprintable() or not token.strip() or " " in token:
        raise CredentialRefused("the token is empty or has characters that no token has")
    return token
