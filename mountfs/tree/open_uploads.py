"""What was sent, or is being sent, with the outcome not known yet."""

from mountfs.model.entry import OpenUpload
from mountfs.model.ids import Ino
from mountfs.model.node import RemoteNode


class OpenUploads(dict[Ino, OpenUpload]):
    """As the journal has it. Of a file that is gone from here until nothing is pending, as the remote may
    still show it by another entry."""

    def may_have_made(self, node: RemoteNode) -> bool:
        """Tell whether the content there may come from here, by a call whose answer was lost: then it is no
        edit of others, whichever entry has the node by now."""
        return any((sent.size, sent.sha256) == (node.size, node.sha256) for sent in self.values())

    def without_session(self) -> list[Ino]:
        """Those of which the remote keeps nothing that has to be given back."""
        return [ino for ino, sent in self.items() if not sent.upload]
