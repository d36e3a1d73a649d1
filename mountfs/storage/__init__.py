"""Our disk: the journal with the tree, the content files and their index, recovery and audit."""
