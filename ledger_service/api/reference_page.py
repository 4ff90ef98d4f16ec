"""The human reference: one page of plain HTML, made on the server from the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from html import escape
from typing import Any, Final

Json = dict[str, Any]

_STYLE: Final = """
:root{--ink:#1c2330;--soft:#5d6879;--line:#dde2ea;--back:#fff;--code:#f4f6f9;--accent:#0a6e5c}
@media(prefers-color-scheme:dark){:root{--ink:#e3e8f0;--soft:#94a0b3;--line:#2c3544;--back:#141a23;
--code:#1d2531;--accent:#55c9ae}}
*{box-sizing:border-box}html{scroll-behavior:smooth}
body{margin:0;color:var(--ink);background:var(--back);font:16px/1.55 system-ui,sans-serif}
.page{display:grid;grid-template-columns:17rem minmax(0,1fr);max-width:78rem;margin:auto}
nav{position:sticky;top:0;height:100vh;overflow:auto;padding:2rem 1rem;font-size:.85rem;
border-right:1px solid var(--line)}nav h2{font-size:.8rem;color:var(--soft);margin:1.2rem 0 .2rem}
nav a{display:block;color:inherit;text-decoration:none;padding:.1rem 0}
nav a:hover{color:var(--accent)}
main{padding:2rem 2.5rem 6rem}h1{margin:0 0 .5rem}main>h2{margin:3.5rem 0 0;padding-top:1rem}
section{border-top:1px solid var(--line);margin-top:1.5rem;padding-top:1.2rem}
section h3{margin:0 0 .3rem;font-size:1.15rem}code,pre{font:.86em/1.5 ui-monospace,monospace}
code{background:var(--code);padding:.08em .3em;border-radius:4px}pre{background:var(--code);
padding:.8rem 1rem;border-radius:8px;overflow:auto}pre code{padding:0;background:none}
.call{font:600 .95rem ui-monospace,monospace;overflow-wrap:anywhere}.method{color:var(--accent)}
.scope{color:var(--soft);font-size:.85rem}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;
border-bottom:1px solid var(--line)}th{color:var(--soft);font-weight:500}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--soft)}h4{margin:1rem 0 .3rem}
@media(max-width:60rem){.page{display:block}nav{position:static;height:auto;border:0}
main{padding:1rem}}
"""


def reference_page(document: Json) -> str:
    """The page for an OpenAPI document."""
    listed: dict[str, list[tuple[str, str, Json]]] = defaultdict(list)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            listed[operation["tags"][0]].append((method.upper(), path, operation))
    info, components = document["info"], document["components"]
    schemas = components["schemas"]
    body = "".join(
        f"<h2 id='{escape(tag)}'>{escape(tag)}</h2>"
        + "".join(_operation(*entry, components) for entry in entries)
        for tag, entries in listed.items()
    )
    title = f"{escape(info['title'])} · API reference"
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{title}</title><style>{_STYLE}</style></head><body><div class='page'>"
        f"<nav><strong>{escape(info['title'])}</strong>{_contents(listed)}</nav>"
        f"<main><h1>{title}</h1>{_text(info['description'])}"
        "<p>For machines: <a href='/schema/openapi.json'>openapi.json</a></p>"
        f"{body}<h2 id='shapes'>Shapes</h2>{_shapes(schemas)}</main></div></body></html>"
    )


def _contents(listed: dict[str, list[tuple[str, str, Json]]]) -> str:
    parts = []
    for tag, entries in listed.items():
        parts.append(f"<h2>{escape(tag)}</h2>")
        for _, _, operation in entries:
            name, summary = operation["operationId"], operation["summary"]
            parts.append(f"<a href='#{escape(name)}'>{escape(summary)}</a>")
    return "".join(parts) + "<h2>Shapes</h2><a href='#shapes'>All shapes</a>"


def _operation(method: str, path: str, operation: Json, components: Json) -> str:
    scopes = " or ".join(operation.get("x-scopes", []))
    needs = f"needs scope <code>{escape(scopes)}</code>" if scopes else "open to everyone"
    request = _request(operation.get("requestBody"), components["schemas"])
    success, failures = _responses(operation["responses"], components["examples"])
    return (
        f"<section id='{escape(operation['operationId'])}'><h3>{escape(operation['summary'])}</h3>"
        f"<div class='call'><span class='method'>{method}</span> {escape(path)}</div>"
        f"<div class='scope'>{needs}</div>{_text(operation['description'])}"
        f"{_parameters(operation['parameters'])}{request}"
        f"<h4>Reply</h4><p>{success}</p>{failures}</section>"
    )


def _parameters(parameters: list[Json]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(given['name'])}</code></td><td>{given['in']}"
        f"{'' if given['required'] else ', optional'}</td><td>{_type(given['schema'])}</td></tr>"
        for given in parameters
    )
    return f"<h4>Parameters</h4><table>{rows}</table>"


def _request(body: Json | None, schemas: Json) -> str:
    if body is None:
        return ""
    content = body["content"].get("application/json")
    if content is None:
        kinds = ", ".join(f"<code>{escape(kind)}</code>" for kind in body["content"])
        return f"<h4>Body</h4><p>A file: {kinds}</p>"
    shape = schemas[_name(content["schema"])]
    example = ""
    if "example" in content:
        text = json.dumps(content["example"], indent=2, ensure_ascii=False)
        example = f"<pre><code>{escape(text)}</code></pre>"
    return f"<h4>Body</h4>{_fields(shape)}{example}"


def _fields(shape: Json) -> str:
    required = shape.get("required", ())
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{'' if name in required else 'optional'}</td>"
        f"<td>{_type(schema)}</td></tr>"
        for name, schema in shape.get("properties", {}).items()
    )
    return f"<table>{rows}</table>"


def _responses(responses: Json, examples: Json) -> tuple[str, str]:
    status, success = next(iter(responses.items()))
    shapes = [
        f"{_type(content['schema'])}" if content.get("schema") else f"<code>{escape(kind)}</code>"
        for kind, content in success["content"].items()
    ]
    rows = ""
    for failed, response in list(responses.items())[1:]:
        for code in response["content"]["application/problem+json"]["examples"]:
            detail = escape(examples[code]["value"]["detail"])
            rows += f"<tr><td>{failed}</td><td><code>{code}</code></td><td>{detail}</td></tr>"
    table = f"<details><summary>Problems</summary><table>{rows}</table></details>"
    return f"{status} · {' or '.join(shapes)}", table


def _shapes(schemas: Json) -> str:
    return "".join(
        f"<section id='shape-{escape(name)}'><h3>{escape(name)}</h3>"
        f"{_text(schema.get('description', ''))}"
        + (_fields(schema) if "properties" in schema else f"<p>{_type(schema)}</p>")
        + "</section>"
        for name, schema in schemas.items()
    )


def _type(schema: Json) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = escape(_name(schema))
        return f"<a href='#shape-{name}'>{name}</a>"
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    words = escape(str(schema.get("format") or schema.get("type") or "anything"))
    if words == "array":
        words = f"list of {_type(schema.get('items', {}))}"
    bounds = [f"{sign} {schema[key]:,}" for key, sign in _BOUNDS if key in schema]
    if "pattern" in schema:
        bounds.append(f"<code>{escape(schema['pattern'])}</code>")
    if schema.get("default") not in (None, {}, []):
        bounds.append(f"default {escape(str(schema['default']))}")
    return ", ".join([words, *bounds])


_BOUNDS: Final = (
    ("minimum", "≥"),
    ("maximum", "≤"),
    ("minLength", "length ≥"),
    ("maxLength", "length ≤"),
    ("minItems", "at least"),
    ("maxItems", "at most"),
)


def _name(schema: Json) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _text(text: str) -> str:
    """Paragraphs, lists, `code` and **bold**: as much of Markdown as docstrings use."""
    blocks = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        if all(line.startswith(("- ", "  ")) for line in lines):
            items = "".join(f"<li>{_inline(item)}</li>" for item in block[2:].split("\n- "))
            blocks.append(f"<ul>{items}</ul>")
        else:
            blocks.append(f"<p>{_inline(block)}</p>")
    return "".join(blocks) if text else ""


def _inline(text: str) -> str:
    safe = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", safe)
