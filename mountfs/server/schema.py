"""Tables of the workspace server. Ids are canonical OpaqueIds, times are microseconds since the epoch.

Ownership of bytes: a blob belongs to exactly one row, first of `chunks`, later of `segments`. A
content is the ordered list of its segments and is shared by the versions (and upload sessions) that
refer to it.
"""

from typing import Any, Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, Row, Table, Text

SCHEMA_VERSION = 1
ROOT = "root"

MAX_DIGITS: Final = 18
"""Numbers of so many digits fit into the database; longer ones are refused."""

AnyRow = Row[*tuple[Any, ...]]

metadata = MetaData()

settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("memo", Text, nullable=False),
    Column("agent_name", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
)

oauth_sessions = Table(
    "oauth_sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("device_name", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("access_digest", Text, nullable=False, index=True),
    Column("access_expires_us", BigInteger, nullable=False),
    Column("refresh_digest", Text, nullable=False, unique=True),
    Column("refresh_expires_us", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", Text, primary_key=True),
    Column("folder_name", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("workspace_id", Text, nullable=False),
    Column("parent_id", Text, nullable=False),  # ROOT or a node; of a trashed top: where it was
    Column("type", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("trash_root", Text),  # the node that was deleted, in each row of its subtree; null while live
    Column("deleted_us", BigInteger),
    Column("version_id", Text),
    Column("content_id", Text),
    Column("size", BigInteger),
    Column("sha256", Text),
    Column("created_us", BigInteger, nullable=False),
    Column("modified_us", BigInteger, nullable=False),  # name, content or metadata
    Column("changed_us", BigInteger, nullable=False),  # anything, moves included
    Column("title", Text, nullable=False, default=""),
    Column("short", Text, nullable=False, default=""),
    Column("upload_id", Text),  # of a link: the share that it leads to
)
# Not where two nodes of a folder may have one name: TWIN_NAMES takes its place there.
Index(
    "live_names",
    nodes.c.workspace_id,
    nodes.c.parent_id,
    nodes.c.name,
    unique=True,
    sqlite_where=nodes.c.trash_root.is_(None),
    postgresql_where=nodes.c.trash_root.is_(None),
)
Index(
    "trashed",
    nodes.c.trash_root,
    nodes.c.workspace_id,
    sqlite_where=nodes.c.trash_root.is_not(None),
    postgresql_where=nodes.c.trash_root.is_not(None),
)
TWIN_NAMES = (
    "DROP INDEX IF EXISTS live_names",
    "CREATE INDEX IF NOT EXISTS twin_names ON nodes (workspace_id, parent_id, name)",
)
Index("by_change", nodes.c.workspace_id, nodes.c.changed_us, nodes.c.id)
Index("by_id", nodes.c.workspace_id, nodes.c.id)

contents = Table(
    "contents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False, index=True),
)

segments = Table(
    "segments",
    metadata,
    Column("content_id", Text, ForeignKey("contents.id", ondelete="CASCADE"), primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("blob", Text, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("node_id", Text, ForeignKey("nodes.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("content_id", Text, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

locks = Table(
    "locks",
    metadata,
    Column("node_id", Text, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("workspace_id", Text, nullable=False),
    Column("token", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("client_info", Text, nullable=False),
    Column("duration_s", Integer, nullable=False),
    Column("acquired_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False, index=True),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # single, chunked, stream or batch
    Column("status", Text, nullable=False),
    Column("status_message", Text, nullable=False, default=""),
    Column("name", Text, nullable=False),
    Column("size", BigInteger),  # null: a stream, not known yet
    Column("max_size", BigInteger),
    Column("hash", Text),
    Column("hash_algo", Text),
    Column("action", Text, nullable=False),
    Column("workspace_id", Text),  # null: the session ends at `complete`
    Column("folder_id", Text),
    Column("file_id", Text),
    Column("lock_token", Text),
    Column("new_file_id", Text),
    Column("content_id", Text, index=True),  # set while the session itself keeps the content alive
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False, index=True),
)

chunks = Table(
    "chunks",
    metadata,
    Column("upload_id", Text, ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
    Column("order", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("blob", Text, nullable=False),
)

search_docs = Table(
    "search_docs",
    metadata,
    Column("doc", Integer, primary_key=True),  # the row of the full-text index
    Column("node_id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("content_id", Text, nullable=False),  # "" for what has no content
)

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("answer", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False, index=True),
)

activity = Table(
    "activity",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("entity", Text, nullable=False),  # workspace id or user id
    Column("key", Text, nullable=False),
    Column("event", Text),  # set when the organisation's change feed tells it too
    Column("object_id", Text),
    Column("at_us", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
Index("activity_of", activity.c.entity, activity.c.seq)
