"""Random changes on mounts whose workspace answers late, seed by seed."""
