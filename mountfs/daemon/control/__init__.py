"""The control socket: what commands ask of a running mount, and how it answers."""
