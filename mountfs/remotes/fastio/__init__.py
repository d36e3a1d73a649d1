"""The client of a Fast.io-compatible REST service."""

from mountfs.remotes.fastio.remote import FastioRemote
from mountfs.remotes.fastio.service import FastioService
from mountfs.remotes.fastio.settings import FastioSettings

__all__ = ["FastioRemote", "FastioService", "FastioSettings"]
