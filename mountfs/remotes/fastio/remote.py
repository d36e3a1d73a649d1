"""One workspace of a Fast.io-compatible service."""

from mountfs.remotes.fastio.batches import Batches
from mountfs.remotes.fastio.changes import ChangePoll
from mountfs.remotes.fastio.commits import Commits
from mountfs.remotes.fastio.history import FastioHistory
from mountfs.remotes.fastio.inventory import Inventory
from mountfs.remotes.fastio.leases import Leases
from mountfs.remotes.fastio.push import Push
from mountfs.remotes.fastio.reads import Reads
from mountfs.remotes.fastio.surveys import Surveys


class FastioRemote(Leases, Reads, Commits, Batches, ChangePoll, Push, Surveys, Inventory, FastioHistory):
    """Implements `mountfs.model.remote.Remote` and `mountfs.model.history.History`; each part has a module of
    its own."""
