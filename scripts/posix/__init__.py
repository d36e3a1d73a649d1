"""The same file operations on a mount and on an ordinary directory, and what came of each."""
