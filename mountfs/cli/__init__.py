"""The command line: one module per command, each of which imports what is heavy only when it runs.

Paths are plain `Path` arguments: `click.Path` looks at the file, and a daemon that hangs never answers.
"""
