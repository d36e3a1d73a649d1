"""A sign-in to a service that outlives the command that made it, and the port to where it is kept."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

EARLY_MOST_S: Final = 120.0
"""A token is renewed so long before its end, or a quarter of its life before, whichever is less."""


@dataclass(frozen=True, slots=True)
class Login:
    """`url` is the address that it is for. Without a `refresh_token` the token is an API key, or any other
    that cannot be renewed. Times are seconds since the epoch; `expires_at_s` 0: never.

    `scopes` are what was granted, as the service tells: `entity_type:entity_id:mode`.
    """

    url: str
    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    issued_at_s: float = 0
    expires_at_s: float = 0
    client_id: str = ""
    scopes: tuple[str, ...] = ()
    account: str = ""

    def is_to_be_renewed(self, now_s: float) -> bool:
        """Tell whether its end is near, and whether that can be helped."""
        if not self.refresh_token or not self.expires_at_s:
            return False
        life_s = max(0.0, self.expires_at_s - self.issued_at_s)
        return now_s >= self.expires_at_s - min(EARLY_MOST_S, life_s / 4)

    def has_ended(self, now_s: float) -> bool:
        return bool(self.expires_at_s) and now_s >= self.expires_at_s


class LoginStore(Protocol):
    """Where the login for one address is kept. Every call may block on the disk; raises StorageError, and
    CredentialStoreUnusable where what is kept cannot be trusted or read."""

    def load(self) -> Login | None: ...

    def save(self, login: Login) -> None:
        """Replace what is kept; after a crash it is the old one or the new one."""
        ...

    def remove(self) -> bool:
        """Forget it; tell whether there was one."""
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep other processes from renewing it meanwhile: a refresh token may work only once."""
        ...
