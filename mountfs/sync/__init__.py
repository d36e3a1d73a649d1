"""The traffic: content and changes between the tree and the remote."""
