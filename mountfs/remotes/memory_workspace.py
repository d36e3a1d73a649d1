"""The state of one workspace in memory, and what each change means to it: synchronous, no clock of its own.

The rules are those of the service: an upload onto a file makes a version in place, a move onto a file sends
that file to the trash, a folder that meets its name is numbered, a rename makes a version, equal bytes do
not. A method either changes everything it promises or raises and changes nothing.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count

from mountfs.model.errors import (
    FileTooBig,
    LeaseHeld,
    LeaseNotHeld,
    NameRefused,
    NameTaken,
    NodeNotFound,
    RequestRefused,
    UploadVanished,
    VersionMismatch,
)
from mountfs.model.ids import ROOT_NODE, LeaseToken, NodeId, UploadId, VersionId
from mountfs.model.node import NodeKind, RemoteNode
from mountfs.model.remote import (
    BatchFile,
    LeaseHolder,
    NewFile,
    Placement,
    UploadLimits,
    UploadState,
    UploadStatus,
)
from mountfs.remotes.memory_feed import MemoryFeed
from mountfs.remotes.memory_history import Past
from mountfs.remotes.memory_records import (
    DEFAULT_LIMITS,
    FoldedNames,
    HeldLease,
    StoredNode,
    Upload,
    Version,
    is_ordinary_name,
    numbered,
)


class MemoryWorkspace(MemoryFeed):
    """One workspace that any number of `MemoryRemote` clients share.

    With `folds_names` names of one folder that differ only in case or Unicode form are one.
    `hold_assembly` keeps completed uploads in WORKING until `finish_assembly`. `files`, `folders`, `trash`
    and `versions` are for looking at the outcome.
    """

    def __init__(
        self,
        name: str = "main",
        *,
        workspace_id: str = "4000000000000000001",
        writable: bool = True,
        limits: UploadLimits = DEFAULT_LIMITS,
        accepts_name: Callable[[str], bool] = is_ordinary_name,
        now_ns: Callable[[], int] = time.time_ns,
        folds_names: bool = False,
    ) -> None:
        super().__init__()
        self.id = workspace_id
        self.name = name
        self.writable = writable
        self.limits = limits
        self.hold_assembly = False
        self._accepts_name = accepts_name
        self._now_ns = now_ns
        self._ids = count(1)
        self._nodes: dict[NodeId, StoredNode] = {}
        self._new_children: type[dict[str, NodeId]] = FoldedNames if folds_names else dict
        self._children: dict[NodeId, dict[str, NodeId]] = {ROOT_NODE: self._new_children()}
        self._uploads: dict[UploadId, Upload] = {}
        self.past = Past(self._nodes, self._children)
        self._nodes[ROOT_NODE] = StoredNode(ROOT_NODE, NodeKind.FOLDER, "", ROOT_NODE, self._now_s())

    # Looking at the outcome

    def files(self) -> dict[str, bytes]:
        """Return path -> content of every live file; paths are relative, separated by slashes."""
        return {path: node.versions[-1].content for path, node in self.past.walk() if node.versions}

    def folders(self) -> set[str]:
        return {path for path, node in self.past.walk() if node.kind is NodeKind.FOLDER}

    def trash_names(self) -> list[str]:
        """Return the names of the nodes sent to the trash themselves, in order of their creation."""
        return [node.name for node in self._nodes.values() if node.trashed]

    def versions(self, node: NodeId) -> list[Version]:
        return list(self._nodes[node].versions)

    def all_contents(self) -> set[bytes]:
        """Return every content that any node has or had, the trash included."""
        return {version.content for node in self._nodes.values() for version in node.versions}

    def uploads(self) -> list[UploadState]:
        return [upload.state() for upload in self._uploads.values()]

    def lease_holder(self, node: NodeId, now: float) -> str | None:
        lease = self._live_lease(self._nodes[node], now)
        return lease.holder if lease else None

    def find(self, path: str) -> NodeId:
        """Return the live node at a relative path. Raises NodeNotFound."""
        found = ROOT_NODE
        for name in filter(None, path.split("/")):
            child = self._children.get(found, {}).get(name)
            if child is None:
                raise NodeNotFound(f"{path}: not in the workspace")
            found = child
        return found

    # The tree

    def listing(self, folder: NodeId, now: float) -> list[RemoteNode]:
        self._folder(folder)
        return [self._told(self._nodes[child], now, full=False) for child in self._children[folder].values()]

    def live_nodes(self, now: float) -> list[RemoteNode]:
        return [self._told(stored, now, full=False) for _, stored in self.past.walk()]

    def describe(self, node: NodeId, now: float) -> RemoteNode | None:
        stored = self._nodes.get(node)
        return self._told(stored, now, full=True) if stored else None

    def create_folder(self, parent: NodeId, name: str) -> NodeId:
        self._folder(parent)
        self._check_name(name)
        existing = self._children[parent].get(name)
        if existing is None:
            return self._add(NodeKind.FOLDER, parent, name).id
        if self._nodes[existing].kind is not NodeKind.FOLDER:
            raise NameTaken(f"{name}: a file has this name")
        return existing

    def rename(self, node: NodeId, name: str) -> None:
        stored = self._live(node)
        if node == ROOT_NODE:
            raise RequestRefused("the root of a workspace has no name")
        self._check_name(name)
        if name == stored.name:
            return
        if name in self._children[stored.parent]:
            raise NameTaken(f"{name}: another node has this name")
        self._relocate(stored, stored.parent, name)
        if stored.versions:
            self._add_version(stored, stored.versions[-1].content)
        self._note(stored, "updated")

    def move(self, node: NodeId, parent: NodeId) -> None:
        stored = self._live(node)
        self._folder(parent)
        if node == ROOT_NODE or node in self._ancestors(parent):
            raise RequestRefused(f"{stored.name}: a folder cannot move into itself")
        if parent == stored.parent:
            return
        there = self._children[parent].get(stored.name)
        name = stored.name
        if there is not None and self._is_file(there) and self._is_file(node):
            self.trash(there)
        elif there is not None:
            name = numbered(name, self._children[parent])
        self._relocate(stored, parent, name)
        self._note(stored, "moved")

    def set_text(self, node: NodeId, text: str) -> None:
        stored = self._live(node)
        if text != stored.text:
            stored.text = text
            self._note(stored, "updated")

    def trash(self, node: NodeId) -> bool:
        """Return whether there was something to delete."""
        stored = self._nodes.get(node)
        if stored is None or self._is_trashed(stored):
            return False
        if node == ROOT_NODE:
            raise RequestRefused("the root of a workspace cannot be deleted")
        del self._children[stored.parent][stored.name]
        stored.trashed, stored.trashed_ns = True, self._now_s()
        self._note(stored, "deleted")
        return True

    def restore(self, node: NodeId) -> None:
        """Bring it back to where it was, under a number where its name is taken; to the top where that folder
        is gone."""
        stored = self.past.in_trash(node)
        if stored.parent not in self._nodes or self._is_trashed(self._nodes[stored.parent]):
            stored.parent = ROOT_NODE
        there = self._children[stored.parent].get(stored.name)
        if there is not None and self._is_file(there) and self._is_file(node):
            self.trash(there)
        elif there is not None:
            stored.name = numbered(stored.name, self._children[stored.parent])
        stored.trashed = False
        self._children[stored.parent][stored.name] = node
        self._note(stored, "restored")

    def restore_version(self, node: NodeId, version: VersionId) -> None:
        self._replace(self._live(node), self.past.content(node, version))

    def purge(self, node: NodeId) -> None:
        stored = self.past.in_trash(node)
        self.past.purge(node)
        self._note(stored)

    def content(self, node: NodeId, version: VersionId | None) -> bytes:
        found = self._live(node).version(version)
        if found is None:
            raise NodeNotFound(f"{node}: no version {version}")
        return found.content

    def put(self, path: str, content: bytes) -> NodeId:
        """Store a file as some other client would, with the folders above it, and return its node."""
        *folders, name = path.split("/")
        parent = ROOT_NODE
        for folder in folders:
            parent = self.create_folder(parent, folder)
        return self._place(NewFile(parent, name), content)

    # Uploads

    def open_upload(self, place: Placement, size: int, sha256: str) -> UploadId:
        self._check_name(place.name)
        if isinstance(place, NewFile):
            self._folder(place.parent)
        if size > self.limits.file_max_bytes:
            raise FileTooBig(f"{place.name}: {size} bytes, at most {self.limits.file_max_bytes}")
        upload = Upload(UploadId(self._new_id("5")), place, size, sha256)
        self._uploads[upload.id] = upload
        return upload.id

    def upload_whole(self, place: Placement, content: bytes, sha256: str) -> UploadState:
        """Take a whole file in one step."""
        upload = self.open_upload(place, len(content), sha256)
        self.receive(upload, 1, content, sha256)
        self.complete(upload)
        return self.upload_state(upload)

    def check_batch(self, parent: NodeId, files: Sequence[BatchFile]) -> None:
        """Raise what refuses a batch as a whole."""
        self._folder(parent)
        sizes = [len(file.content) for file in files]
        if not 1 <= len(sizes) <= self.limits.batch_files or sum(sizes) > self.limits.batch_bytes:
            raise RequestRefused(f"a batch of {len(sizes)} files, {sum(sizes)} bytes, is out of bounds")
        if max(sizes) > self.limits.single_call_bytes:
            raise RequestRefused(f"a batch with a file of {max(sizes)} bytes is out of bounds")

    def receive(self, upload: UploadId, order: int, content: bytes, sha256: str) -> None:
        session = self._upload(upload)
        if session.status is not UploadStatus.RECEIVING:
            if order in session.chunks:
                return
            raise RequestRefused(f"upload {upload} is {session.status.value}")
        if not 1 <= order <= self.limits.chunks_max or len(content) > self.limits.chunk_max_bytes:
            raise RequestRefused(f"upload {upload}: chunk {order} of {len(content)} bytes is out of bounds")
        if hashlib.sha256(content).hexdigest() != sha256:
            raise RequestRefused(f"upload {upload}: chunk {order} does not match its hash")
        session.chunks[order] = content

    def complete(self, upload: UploadId) -> None:
        session = self._upload(upload)
        if session.status is not UploadStatus.RECEIVING:
            return
        session.status = UploadStatus.WORKING
        if not self.hold_assembly:
            self._assemble(session)

    def finish_assembly(self) -> None:
        """Assemble and place everything that `hold_assembly` kept back, and hold no more."""
        self.hold_assembly = False
        for session in self._uploads.values():
            if session.status is UploadStatus.WORKING:
                self._assemble(session)
        self._wake()

    def upload_state(self, upload: UploadId) -> UploadState:
        return self._upload(upload).state()

    def cancel_upload(self, upload: UploadId) -> None:
        self._uploads.pop(upload, None)

    def commit(self, node: NodeId, upload: UploadId, base: VersionId) -> None:
        stored = self._live(node)
        content = self._assembled(upload)
        current = stored.versions[-1].id if stored.versions else None
        if current != base:
            raise VersionMismatch(f"{stored.name}: is at {current}, not at {base}", current=current)
        self._replace(stored, content)

    def known_content(self, sha256: str) -> bytes | None:
        contents = (version.content for node in self._nodes.values() for version in node.versions)
        return next((one for one in contents if hashlib.sha256(one).hexdigest() == sha256), None)

    def add_file(self, parent: NodeId, name: str, upload: UploadId) -> NodeId:
        self._folder(parent)
        self._check_name(name)
        return self._place(NewFile(parent, name), self._assembled(upload))

    # Leases

    def acquire(self, node: NodeId, duration_s: float, holder: str, now: float) -> LeaseToken:
        stored = self._live(node)
        if not self._is_file(node):
            raise RequestRefused(f"{stored.name}: only files can be locked")
        held = self._live_lease(stored, now)
        if held:
            raise LeaseHeld(f"{stored.name}: locked by {held.holder}")
        token, now_ns = LeaseToken(self._new_id("l")), self._now_ns()
        stored.lease = HeldLease(
            token, holder, duration_s, now + duration_s, now_ns, now_ns + int(duration_s * 1e9)
        )
        self._note(stored)
        return token

    def renew(self, node: NodeId, token: LeaseToken, now: float) -> float:
        """Start the duration anew and return it."""
        lease = self._live_lease(self._live(node), now)
        if lease is None or lease.token != token:
            raise LeaseNotHeld(f"{node}: the lock is not held any more")
        lease.expires_at = now + lease.duration_s
        lease.until_ns = self._now_ns() + int(lease.duration_s * 1e9)
        return lease.duration_s

    def release(self, node: NodeId, token: LeaseToken) -> None:
        stored = self._nodes.get(node)
        if stored and stored.lease and stored.lease.token == token:
            stored.lease = None
            self._note(stored)

    def who_holds(self, node: NodeId, now: float) -> LeaseHolder | None:
        lease = self._live_lease(self._live(node), now)
        return LeaseHolder(lease.holder, lease.since_ns, lease.until_ns) if lease else None

    def override(self, node: NodeId) -> None:
        stored = self._live(node)
        if stored.lease:
            stored.lease = None
            self._note(stored)

    def drop_leases(self) -> None:
        """End every lease at once, as if it had expired; no change is told, as with expiry."""
        for stored in self._nodes.values():
            stored.lease = None

    # Inside

    def _now_s(self) -> int:
        """Return the time in nanoseconds at the service's resolution of one second."""
        return self._now_ns() // 1_000_000_000 * 1_000_000_000

    def _new_id(self, mark: str) -> str:
        return f"{mark}{next(self._ids):028d}"

    def _note(self, stored: StoredNode, happened: str = "") -> None:
        if happened:
            self.past.note(stored, happened, self._now_s())
        self._tell(stored.id)

    def _check_name(self, name: str) -> None:
        if not self._accepts_name(name):
            raise NameRefused(f"{name!r}: the workspace does not accept this name")

    def _live(self, node: NodeId) -> StoredNode:
        stored = self._nodes.get(node)
        if stored is None or self._is_trashed(stored):
            raise NodeNotFound(f"{node}: no such node")
        return stored

    def _folder(self, node: NodeId) -> None:
        if self._live(node).kind is not NodeKind.FOLDER:
            raise RequestRefused(f"{node}: not a folder")

    def _is_file(self, node: NodeId) -> bool:
        return self._nodes[node].kind is NodeKind.FILE

    def _ancestors(self, node: NodeId) -> Iterator[NodeId]:
        while node != ROOT_NODE:
            yield node
            node = self._nodes[node].parent

    def _is_trashed(self, stored: StoredNode) -> bool:
        return any(self._nodes[node].trashed for node in self._ancestors(stored.id))

    def _live_lease(self, stored: StoredNode, now: float) -> HeldLease | None:
        return stored.lease if stored.lease and now < stored.lease.expires_at else None

    def _told(self, stored: StoredNode, now: float, *, full: bool) -> RemoteNode:
        version = stored.version(None)
        return RemoteNode(
            id=stored.id,
            kind=stored.kind,
            name=stored.name,
            parent=stored.parent,
            size=len(version.content) if version else 0,
            version=version.id if version else None,
            sha256=version.sha256 if version and full else None,
            modified_ns=stored.modified_ns,
            locked=self._live_lease(stored, now) is not None,
            trashed=self._is_trashed(stored),
            text=stored.text,
        )

    def _add(self, kind: NodeKind, parent: NodeId, name: str) -> StoredNode:
        stored = StoredNode(NodeId(self._new_id("2")), kind, name, parent, self._now_s())
        self._nodes[stored.id] = stored
        self._children[parent][name] = stored.id
        if kind is NodeKind.FOLDER:
            self._children[stored.id] = self._new_children()
        self._note(stored, "created" if kind is NodeKind.FOLDER else "added")
        return stored

    def _relocate(self, stored: StoredNode, parent: NodeId, name: str) -> None:
        del self._children[stored.parent][stored.name]
        stored.parent, stored.name = parent, name
        self._children[parent][name] = stored.id
        stored.modified_ns = self._now_s()

    def _add_version(self, stored: StoredNode, content: bytes) -> None:
        sha256 = hashlib.sha256(content).hexdigest()
        now_ns = self._now_s()
        stored.versions.append(Version(VersionId(self._new_id("3")), content, sha256, stored.name, now_ns))
        stored.modified_ns = now_ns

    def _replace(self, stored: StoredNode, content: bytes) -> None:
        if stored.versions and stored.versions[-1].content == content:
            return
        self._add_version(stored, content)
        self._note(stored, "updated")

    def _place(self, place: NewFile, content: bytes) -> NodeId:
        existing = self._children[place.parent].get(place.name)
        if existing is not None and self._is_file(existing):
            self._replace(self._nodes[existing], content)
            return existing
        name = place.name if existing is None else numbered(place.name, self._children[place.parent])
        stored = self._add(NodeKind.FILE, place.parent, name)
        self._add_version(stored, content)
        return stored.id

    def _upload(self, upload: UploadId) -> Upload:
        try:
            return self._uploads[upload]
        except KeyError:
            raise UploadVanished(f"upload {upload}: no such session") from None

    def _assembled(self, upload: UploadId) -> bytes:
        session = self._upload(upload)
        if session.status is not UploadStatus.ASSEMBLED:
            raise RequestRefused(f"upload {upload} is {session.status.value}")
        return session.content()

    def _assemble(self, session: Upload) -> None:
        session.message = self._flaw(session)
        if session.message:
            session.status = UploadStatus.FAILED
        elif isinstance(session.place, NewFile):
            session.node = self._place(session.place, session.content())
            session.status = UploadStatus.STORED
        else:
            session.status = UploadStatus.ASSEMBLED
        self._wake()

    def _flaw(self, session: Upload) -> str:
        place = session.place
        if isinstance(place, NewFile) and self._is_trashed(self._nodes[place.parent]):
            return "the folder is gone"
        return session.flaw(self.limits.chunk_min_bytes)
