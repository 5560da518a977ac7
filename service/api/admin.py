"""`/admin/models`: another model while the service runs. These routes are there only where an admin has a key."""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from service.api import schemas
from service.engine.engine import Engine
from service.engine.models import Models, Orders
from service.http.problems import Problem
from service.model.bundles import ChangeRefused, Order
from service.telemetry.request_log import RequestRecord

_FOLDER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
Folder = Annotated[
    str | None,
    Query(pattern=_FOLDER, description="name of a folder beside that of `OVATION_MODEL`; without it, that one itself"),
]


class _ShadowRoute(APIRoute):
    """One of two routes with the same path: Starlette's `Allow` names the methods of the first alone."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in (self.methods or ()):
            raise HTTPException(405, headers={"Allow": "DELETE, POST"})
        await super().handle(scope, receive, send)


def router(engine: Engine, models: Models, orders: Orders) -> APIRouter:
    """The routes, whose orders all workers carry out or none does."""
    routes = APIRouter(tags=["admin"])
    documented: dict[int | str, dict[str, Any]] = {200: {"headers": schemas.REQUEST_ID_HEADER}}
    documented |= schemas.problem_responses(
        "unauthorized", "forbidden", "forbidden_origin", "change_refused", "invalid", "internal"
    )

    async def change(request: Request, order: Order) -> schemas.Models:
        log, key = structlog.get_logger("ovation"), RequestRecord.of(request.scope).allowance
        by = None if key is None else key.name
        log.info("change of the model ordered", kind=order.kind, folder=order.folder, key=by)
        try:
            await orders.carry_out(order)
        except ChangeRefused as error:
            raise Problem("change_refused", str(error)) from None
        shadow = models.shadow
        return schemas.Models(model=engine.classifier.name, shadow=None if shadow is None else shadow.name)

    @routes.post("/admin/models/reload", responses=documented)
    async def reload(request: Request, folder: Folder = None) -> schemas.Models:
        """Serves the bundle in a folder from now on, once every worker has loaded and verified it."""
        return await change(request, Order("reload", folder))

    @routes.post("/admin/models/rollback", responses=documented)
    async def rollback(request: Request) -> schemas.Models:
        """Serves the bundle that was served before the last change, from memory; a second one takes it back."""
        return await change(request, Order("rollback"))

    async def shadow(
        request: Request,
        share: Annotated[float, Query(gt=0, le=1, description="of the requests")] = 0.1,
        folder: Folder = None,
    ) -> schemas.Models:
        """Has the bundle in a folder answer a share of what is asked, too, and counts where it disagrees."""
        return await change(request, Order("shadow", folder, share))

    async def no_shadow(request: Request) -> schemas.Models:
        """Ends the shadow."""
        return await change(request, Order("no_shadow"))

    for method, endpoint in (("POST", shadow), ("DELETE", no_shadow)):
        routes.add_api_route(
            "/admin/models/shadow",
            endpoint,
            methods=[method],
            responses=documented,
            route_class_override=_ShadowRoute,
        )
    return routes
