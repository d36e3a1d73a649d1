"""Programs that the kernel tests run on a mount and on a plain directory, and what these need."""
