"""What looks at a running mount over HTTP, each only where it is switched on."""
