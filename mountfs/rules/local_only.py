"""Which paths stay on this host, by patterns as in a .gitignore."""

from collections.abc import Sequence

from pathspec import GitIgnoreSpec


class LocalOnly:
    """The later of two patterns that match decides; what lies below a directory that matches, matches too."""

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        """Raises ValueError for what is no pattern."""
        self._spec = GitIgnoreSpec.from_lines(patterns)
        self._has_patterns = any(pattern.include is not None for pattern in self._spec.patterns)

    def __bool__(self) -> bool:
        return self._has_patterns

    def matches(self, path: bytes, *, is_directory: bool) -> bool:
        """Tell for a path from the root of the mount, without a leading slash."""
        if not self._has_patterns or not path:
            return False
        text = path.decode("utf-8", "surrogateescape")
        return self._spec.match_file(f"{text}/" if is_directory else text)
