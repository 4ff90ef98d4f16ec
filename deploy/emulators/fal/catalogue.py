"""The platform API's list of models, and each model's description of itself (OpenAPI 3.0)."""

from collections.abc import Mapping
from typing import Any, Final

from litestar import Request, get

from deploy.emulators.fal import models
from deploy.emulators.fal.models import MODELS, Field, Model
from deploy.emulators.fal.wire import Refusal, asked_endpoints, origin_of, page_of

STATUSES: Final = ("active", "deprecated")
_SINCE: Final = "2026-01-01T00:00:00Z"
_TYPES: Final = {str: "string", int: "integer", bool: "boolean", list: "array"}
_FILE: Final = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string"},
        "content_type": {"type": "string"},
        "file_name": {"type": "string"},
        "file_size": {"type": "integer"},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
    },
}
_QUEUED: Final = {
    "type": "object",
    "required": ["status", "request_id"],
    "properties": {
        "status": {"type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]},
        **{
            name: {"type": "string"}
            for name in ("request_id", "response_url", "status_url", "cancel_url")
        },
        "queue_position": {"type": "integer"},
        "logs": {"type": "array", "nullable": True, "items": {"type": "object"}},
        "metrics": {"type": "object"},
    },
}


@get("/v1/models")
async def list_models(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The models that are known here, by name; anybody may ask, as at fal.

    ``endpoint_id``, ``status``, ``category`` and ``q`` choose among them, ``expand=openapi-3.0``
    adds each one's description.
    """
    query = request.query_params
    wanted = asked_endpoints(request, at_least=0)
    status = query.get("status")
    if status is not None and status not in STATUSES:
        raise Refusal(422, {"detail": f"status is one of {', '.join(STATUSES)}"})
    expand = "openapi-3.0" in query.getall("expand", [])
    found = [
        endpoint
        for endpoint, model in sorted(MODELS.items())
        if (not wanted or endpoint in wanted)
        and status in (None, _status(model))
        and query.get("category") in (None, _category(endpoint, model))
        and query.get("q", "") in endpoint
    ]
    items, rest = page_of(found, query)
    origin = origin_of(request)
    return {"models": [_item(endpoint, origin, expand) for endpoint in items], **rest}


@get("/api/openapi/queue/openapi.json")
async def queue_openapi(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """One model's description of itself, at the path that fal's website has it."""
    wanted = asked_endpoints(request, at_least=1)
    return description(wanted[0], origin_of(request))


def _item(endpoint: str, origin: str, expand: bool) -> dict[str, Any]:
    model = MODELS[endpoint]
    item: dict[str, Any] = {
        "endpoint_id": endpoint,
        "metadata": {
            "display_name": endpoint.partition("/")[2],
            "category": _category(endpoint, model),
            "description": f"What the emulator makes of {endpoint}.",
            "status": _status(model),
            "tags": [model.output],
            "updated_at": _SINCE,
            "is_favorited": None,
            "thumbnail_url": "",
            "model_url": f"{origin}/run/{endpoint}",
            "date": _SINCE,
            "highlighted": False,
        },
    }
    return item | ({"openapi": description(endpoint, origin)} if expand else {})


def _status(model: Model) -> str:
    return "deprecated" if model.is_deprecated else "active"


def _category(endpoint: str, model: Model) -> str:
    takes_image = any(
        field.required and field.is_address for field in (model.fields or {}).values()
    )
    return f"{'image' if takes_image else 'text'}-to-{model.output}"


def description(endpoint: str, origin: str) -> dict[str, Any]:
    """An endpoint's queue as an OpenAPI 3.0 document; of an unknown one it says little."""
    model = models.model_of(endpoint)
    request_path = f"/{endpoint}/requests/{{request_id}}"
    number = [{"name": "request_id", "in": "path", "required": True, "schema": {"type": "string"}}]
    return {
        "openapi": "3.0.4",
        "info": {
            "title": f"Queue OpenAPI for {endpoint}",
            "version": "1.0.0",
            "x-fal-metadata": {"endpointId": endpoint, "category": _category(endpoint, model)},
        },
        "servers": [{"url": origin}],
        "security": [{"apiKeyAuth": []}],
        "components": {
            "securitySchemes": {
                "apiKeyAuth": {"type": "apiKey", "in": "header", "name": "Authorization"}
            },
            "schemas": {"QueueStatus": _QUEUED, "Input": _input(model), "Output": _output(model)},
        },
        "paths": {
            f"/{endpoint}": {"post": {"requestBody": _json("Input"), **_answers("QueueStatus")}},
            f"{request_path}/status": {"get": {"parameters": number, **_answers("QueueStatus")}},
            f"{request_path}/cancel": {"put": {"parameters": number, **_answers("QueueStatus")}},
            request_path: {"get": {"parameters": number, **_answers("Output")}},
        },
    }


def _answers(schema: str) -> dict[str, Any]:
    return {"responses": {"200": {"description": "As it is now.", **_json(schema)}}}


def _json(schema: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _input(model: Model) -> dict[str, Any]:
    fields: Mapping[str, Field] = model.fields or {}
    required = [name for name, field in fields.items() if field.required]
    properties = {name: _property(field) for name, field in fields.items()}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return schema | ({"required": required} if required else {})


def _property(field: Field) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _TYPES[field.kind]}
    if field.kind is list:
        schema["items"] = {}
    if field.choices:
        schema["enum"] = list(field.choices)
    if field.at_least is not None:
        schema["minimum"] = field.at_least
    if field.at_most is not None:
        schema["maximum"] = field.at_most
    return {"anyOf": [schema, {"type": "object"}]} if field.or_object else schema


def _output(model: Model) -> dict[str, Any]:
    media = {"images": {"type": "array", "items": _FILE}}
    if model.output == "video":
        media = {"video": _FILE}
    extra: dict[str, Any] = {name: {} for name in model.extra}
    return {"type": "object", "required": list(media), "properties": media | extra}
