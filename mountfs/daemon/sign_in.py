"""Signing in from a command: the browser, the address it comes back to, and what is kept of it."""

import queue
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final, TypeVar
from urllib.parse import urlsplit

import trio

from mountfs.daemon.accounts import PATIENCE, Access, service
from mountfs.daemon.errors import SignInTimedOut
from mountfs.daemon.login_key import login_key
from mountfs.daemon.settings import Secret
from mountfs.model.account import Account
from mountfs.model.errors import MountfsError, RequestRefused
from mountfs.model.login import Login
from mountfs.remotes.fastio.oauth import OAuth, Reach, SignIn
from mountfs.storage.logins import StoredLogin

T = TypeVar("T")

REQUEST_LIFE_S: Final = 600.0
"""How long the service waits for somebody to agree."""

CALLBACK: Final = "/callback"
_PAGE: Final = '<!doctype html><meta charset="utf-8"><title>mountfs</title><p>{}</p>'


class Redirects:
    """Waits on the loopback for the browser to come back; only this machine can reach it."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self._server = server
        self.sign_in: SignIn | None = None
        self._codes: queue.SimpleQueue[str | MountfsError] = queue.SimpleQueue()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{CALLBACK}"

    def came(self, query: str) -> str:
        """Take what the browser came back with, and return what it is to show.

        What does not belong to this sign-in is not taken: any page could send a browser here.
        """
        if self.sign_in is None:
            return "No sign-in is under way."
        try:
            code = self.sign_in.code_from(query)
        except RequestRefused as error:
            if "another sign-in" not in error.message:
                self._codes.put(error)
            return error.message
        self._codes.put(code)
        return "Signed in. You can close this page."

    def wait_code(self, timeout_s: float) -> str:
        """Return the code. Raises RequestRefused, SignInTimedOut."""
        try:
            told = self._codes.get(timeout=timeout_s)
        except queue.Empty:
            raise SignInTimedOut(
                "nobody finished the sign-in in the browser in time",
                hint="try again, perhaps with --no-browser",
            ) from None
        if isinstance(told, MountfsError):
            raise told
        return told


@contextmanager
def listening() -> Iterator[Redirects]:
    """Listen on a free port of the loopback until the block ends."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            text = redirects.came(asked.query) if asked.path == CALLBACK else "Nothing is here."
            content = _PAGE.format(escape(text)).encode()
            self.send_response(200 if text.startswith("Signed in") else 400)
            for name, value in (
                ("Content-Type", "text/html; charset=utf-8"),
                ("Content-Length", str(len(content))),
                ("Referrer-Policy", "no-referrer"),
                ("Cache-Control", "no-store"),
                ("Connection", "close"),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            """The address has a code in it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        redirects = Redirects(server)
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield redirects
        finally:
            server.shutdown()
            thread.join()


def by_browser(
    url: str,
    *,
    allow_insecure: bool,
    reach: Reach,
    writing: bool,
    client_id: str | None,
    show: Callable[[str], None],
    timeout_s: float = REQUEST_LIFE_S,
) -> Login:
    """Sign in with the browser of this machine, which `show` sends to an address."""
    with listening() as redirects:

        async def begin(oauth: OAuth) -> SignIn:
            known = client_id or await oauth.register(redirects.address)
            return await oauth.begin(known, redirects.address, reach=reach, writing=writing)

        sign_in = redirects.sign_in = _with_oauth(url, allow_insecure, begin)
        show(sign_in.address)
        code = redirects.wait_code(timeout_s)
    return _with_oauth(url, allow_insecure, lambda oauth: oauth.redeem(sign_in, code))


def by_code(
    url: str,
    *,
    allow_insecure: bool,
    reach: Reach,
    writing: bool,
    client_id: str | None,
    ask_code: Callable[[str], str],
) -> Login:
    """Sign in with a browser anywhere: `ask_code` shows an address and returns what somebody pastes."""
    redirect_uri = f"http://127.0.0.1:1{CALLBACK}"

    async def begin(oauth: OAuth) -> SignIn:
        known = client_id or await oauth.register(redirect_uri)
        return await oauth.begin(known, redirect_uri, reach=reach, writing=writing, shows_code=True)

    sign_in = _with_oauth(url, allow_insecure, begin)
    code = sign_in.code_of(ask_code(sign_in.address).strip())
    return _with_oauth(url, allow_insecure, lambda oauth: oauth.redeem(sign_in, code))


def _with_oauth(url: str, allow_insecure: bool, act: Callable[[OAuth], Awaitable[T]]) -> T:
    async def acted() -> T:
        oauth = OAuth(url, allow_insecure=allow_insecure, settings=PATIENCE)
        try:
            return await act(oauth)
        finally:
            await oauth.aclose()

    return trio.run(acted)


def keep(login: Login, folder: Path, *, allow_insecure: bool, in_keyring: bool) -> tuple[Login, Account]:
    """Try the login, and store it with what the service tells of it. Raises what the service says."""
    account = trio.run(_tried, Access(login.url, Secret(login.access_token), None, allow_insecure))
    store = StoredLogin(folder, login_key(login.url), in_keyring=in_keyring)
    kept = Login(
        url=login_key(login.url),
        access_token=login.access_token,
        refresh_token=login.refresh_token,
        issued_at_s=login.issued_at_s,
        expires_at_s=login.expires_at_s,
        client_id=login.client_id,
        scopes=account.scopes or login.scopes,
        account=account.id,
    )
    with store.exclusive():
        store.save(kept)
    return kept, account


async def _tried(access: Access) -> Account:
    async with service(access) as one:
        return await one.account()


def sign_out(url: str, folder: Path, *, allow_insecure: bool) -> tuple[bool, str]:
    """Forget the login for the address, and let the service forget it.

    Return whether there was one, and what is left to do about it, "" for nothing.
    """
    store = StoredLogin(folder, login_key(url))
    try:
        login = store.load()
    except MountfsError:
        login = None  # it cannot be read: it can be removed all the same
    left = ""
    if login is not None and login.refresh_token:
        known = login
        try:
            _with_oauth(url, allow_insecure, lambda oauth: oauth.revoke(known))
        except MountfsError as error:
            left = f"the service could not be told ({error.message}): end the session there"
    elif login is not None:
        left = "the key itself stays valid until it is deleted at the service"
    with store.exclusive():
        return store.remove(), left
