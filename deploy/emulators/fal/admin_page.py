"""The admin page: HTML that needs nothing but a browser, made from what ``/admin/state`` says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

import msgspec

from deploy.emulators.fal.directives import KNOWN
from deploy.emulators.fal.outage import MEANINGS

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:100rem}
table{border-collapse:collapse;margin:.5rem 0 2rem}
td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
th{border-bottom:1px solid #999}
form{display:inline-block;margin:0 1rem .5rem 0}
input,button,select{font:inherit}
.double{background:#f8c9c4}.again{background:#fbeabf}.bad{color:#a01414;font-weight:bold}
"""
_PROMPT_CHARACTERS_MAX: Final = 200


def render(state: Mapping[str, Any]) -> str:
    """The whole page."""
    counts = state["submits"]
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>fal emulator</title><style>{_STYLE}</style></head><body>
<h1>fal emulator</h1>{_switches(state)}
<h2>Accounts</h2>{_accounts(state["accounts"])}
<h2>Jobs</h2><p>{counts["asked"]} submits, {counts["accepted"]} of them accepted.
<span class="double">Same tags as another job: a submit was repeated.</span>
<span class="again">Same generation as another job.</span></p>{_jobs(state["jobs"])}
<h2>Submits that were not accepted</h2>{_refused(counts["newest"])}
<h2>Directives for prompts</h2>{_directives()}
<p><a href="/admin/state">All this as JSON</a></p></body></html>"""


def _switches(state: Mapping[str, Any]) -> str:
    clock, outage, chaos = state["clock"], state["outage"], state["chaos"]
    out = "none"
    if outage:
        out = f'<span class="bad">{escape(outage["mode"])} until {escape(outage["ends_at"])}</span>'
    wild = f"seed {chaos.seed}, rate {chaos.rate:g}" if chaos else "none"
    assumed = msgspec.to_builtins(state["assumptions"])
    choices = ", ".join(f"{name}={choice}" for name, choice in assumed.items())
    modes = "".join(
        f'<option value="{mode}">{mode}: {escape(text)}</option>' for mode, text in MEANINGS.items()
    )
    rows = [
        f"Clock<td>{clock['kind']}, {escape(clock['now'])}<td>{_mover(clock['kind'])}",
        f"Outage<td>{out}<td>"
        + _form(
            "outage",
            f"<select name=mode>{modes}</select> for <input name=seconds value=30 size=5> s",
            "be out",
        )
        + _form("outage", "<input type=hidden name=seconds value=0>", "end it"),
        f"Chaos<td>{wild}<td>",
        f"Assumed<td>{choices}<td>",
        "Balance<td>of every key<td>"
        + _form("balance", "<input name=usd value=100 size=8> USD", "set it"),
        f"Everything<td><td>{_form('reset', '', 'forget all jobs')}",
    ]
    return _table((), (f"<tr><th>{row}</tr>" for row in rows))


def _mover(kind: str) -> str:
    if kind == "real":
        return ""
    return _form("clock", "<input name=advance_seconds value=60 size=6> s", "move it forward")


def _form(call: str, fields: str, label: str) -> str:
    return f'<form method="post" action="/admin/{call}">{fields} <button>{label}</button></form>'


def _accounts(accounts: Iterable[Mapping[str, Any]]) -> str:
    rows = (
        _row(
            account["user_id"],
            f"{account['spent_usd']:.2f}",
            f"{account['balance_usd']:.2f}",
            "locked" if account["locked"] else "",
        )
        for account in accounts
    )
    return _table(("user", "spent USD", "left USD", ""), rows)


def _jobs(jobs: Iterable[Mapping[str, Any]]) -> str:
    titles = (
        *("request", "endpoint", "status", "error", "billed", "answered"),
        *("tags", "chaos", "webhooks", "prompt"),
    )
    return _table(titles, (_job_row(job) for job in jobs))


def _job_row(job: Mapping[str, Any]) -> str:
    mark = "again" if job["of_same_generation"] > 1 else ""
    mark = "double" if job["with_same_tags"] > 1 else mark
    answered, billed = ("yes" if job[fact] else "no" for fact in ("answered", "billed"))
    webhooks = ", ".join(
        f"{hook['state']} ({hook['tries']}; {hook['last_answer'] or '-'})"
        for hook in job["webhooks"]
    )
    prompt = "deleted" if job["prompt"] is None else job["prompt"][:_PROMPT_CHARACTERS_MAX]
    return _row(
        *(job["request_id"], job["endpoint"], job["status"], job["error_type"] or ""),
        *(billed, answered, _tags(job["tags"]), job["chaos"], webhooks, prompt),
        mark=mark,
    )


def _refused(submits: Iterable[Mapping[str, Any]]) -> str:
    rows = (
        _row(
            *(str(submit["number"]), submit["at"], submit["endpoint"], _tags(submit["tags"])),
            *(submit["chaos"], str(submit["refused"] or "no answer")),
        )
        for submit in submits
        if submit["request_id"] is None
    )
    return _table(("number", "at", "endpoint", "tags", "chaos", "answer"), rows)


def _directives() -> str:
    return _table((), (_row(f"[[fal:{name}]]", text) for name, text in KNOWN.items()))


def _tags(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in tags.items())


def _table(titles: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{title}" for title in titles)
    return "<table>" + (f"<tr>{head}</tr>\n" if head else "") + "\n".join(rows) + "</table>"


def _row(*cells: str, mark: str = "") -> str:
    """One line of a table; whatever a client sent is shown as text."""
    kind = f' class="{mark}"' if mark else ""
    return f"<tr{kind}>" + "".join(f"<td>{escape(cell)}" for cell in cells) + "</tr>"
