"""The wiring: settings, the life of the daemon process, and its control socket."""
