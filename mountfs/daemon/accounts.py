"""An account on a service for the length of one command, or of a mount: its address, its token, its login."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import trio

from mountfs.daemon.log_setup import hide
from mountfs.daemon.login_key import login_key
from mountfs.daemon.settings import Secret
from mountfs.model.login import Login
from mountfs.remotes.fastio.credential import Credential, FixedToken, LoginToken
from mountfs.remotes.fastio.oauth import OAuth
from mountfs.remotes.fastio.service import FastioService
from mountfs.remotes.fastio.settings import FastioSettings
from mountfs.storage.logins import StoredLogin

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE: Final = FastioSettings(patience_s=15)
"""Of commands: somebody waits in front of them."""


@dataclass(frozen=True, slots=True)
class Access:
    """`token` is used, unless `logins` names a folder with a login for `url`: then that, and what it
    becomes."""

    url: str
    token: Secret
    logins: Path | None = None
    allow_insecure: bool = False


class _HiddenLogin(StoredLogin):
    """Keeps the tokens that it gives out of the log."""

    def load(self) -> Login | None:
        login = super().load()
        if login is not None:
            hide(Secret(login.access_token), Secret(login.refresh_token))
        return login

    def save(self, login: Login) -> None:
        hide(Secret(login.access_token), Secret(login.refresh_token))
        super().save(login)


async def credential(access: Access) -> Credential:
    """Return the token, or the stored login that is renewed as it is needed."""
    if access.logins is None:
        return FixedToken(access.token.reveal())
    store = _HiddenLogin(access.logins, login_key(access.url))
    login = await trio.to_thread.run_sync(store.load)
    if login is None:
        return FixedToken(access.token.reveal())

    async def renew(old: Login) -> Login:
        oauth = OAuth(access.url, allow_insecure=access.allow_insecure, settings=PATIENCE)
        try:
            return await oauth.renew(old)
        finally:
            await oauth.aclose()

    return LoginToken(login, store, renew)


@asynccontextmanager
async def service(access: Access) -> AsyncIterator[FastioService]:
    one = FastioService(
        access.url, await credential(access), allow_insecure=access.allow_insecure, settings=PATIENCE
    )
    try:
        yield one
    finally:
        await one.aclose()


def ask(access: Access, question: Callable[[FastioService], Awaitable[T]]) -> T:
    """Return the answer of the service to one question of a command. Raises what the service says."""

    async def asked() -> T:
        async with service(access) as one:
            return await question(one)

    return trio.run(asked)
