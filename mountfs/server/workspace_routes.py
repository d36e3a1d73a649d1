"""Routes that end a workspace."""

from sqlalchemy import delete, select
from starlette.responses import Response

from mountfs.server import uploads
from mountfs.server.contents import contents_of_nodes, release_contents
from mountfs.server.database import Transaction
from mountfs.server.endpoint import Call, answer
from mountfs.server.envelope import invalid_field
from mountfs.server.schema import nodes, workspaces


async def delete_workspace(call: Call) -> Response:
    """`DELETE /workspace/{workspace}/delete/?confirm=NAME`: for ever, with all that is in it."""
    workspace = call.workspace(write=True)
    call.principal.check_admin(workspace.id)
    if call.query.get("confirm") not in (workspace.folder_name, workspace.name, workspace.id):
        raise invalid_field("confirm", "the name of the workspace is expected")

    def remove(tx: Transaction) -> None:
        ids = list(tx.execute(select(nodes.c.id).where(nodes.c.workspace_id == workspace.id)).scalars())
        used = contents_of_nodes(tx.connection, ids)
        tx.execute(delete(nodes).where(nodes.c.workspace_id == workspace.id))
        release_contents(tx, used)
        uploads.delete_sessions_of(tx, workspace)
        tx.execute(delete(workspaces).where(workspaces.c.id == workspace.id))

    await call.services.database.write(remove)
    call.services.workspaces.remove(workspace)
    return answer({})
