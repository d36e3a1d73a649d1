"""The tree: what is where here, what the remote confirmed of it, and what the remote still has to learn.

It lives in memory, is written to the journal change by change, and makes no network call.
"""
