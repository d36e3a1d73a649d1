"""The permissions: locks of programs here, and the leases that they need on the remote."""
