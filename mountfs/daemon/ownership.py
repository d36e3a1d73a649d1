"""To whom entries belong that came from elsewhere: the workspace knows no owners."""

import grp
import os
import pwd


def ids(owner: str | None) -> tuple[int, int]:
    """Return user and group of a text like `agent`, `agent:staff` or `1000:1000`; None is who runs this.

    Without a group it is the user's own. Raises ValueError with what is allowed.
    """
    if owner is None:
        return os.getuid(), os.getgid()
    user, _sign, group = owner.partition(":")
    try:
        account = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        uid, own_group = account.pw_uid, account.pw_gid
    except KeyError:
        if not user.isdigit():
            raise ValueError(
                f"must name a user of this machine, or numbers as 1000:1000; {user} is none"
            ) from None
        uid, own_group = int(user), int(user)
    if not group:
        return uid, own_group
    try:
        return uid, int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise ValueError(f"must name a group of this machine; {group} is none") from None
