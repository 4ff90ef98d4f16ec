"""The HTTP API: one controller per resource over the shared parts.

protocol.py         HTTP/1.1 itself, with limits for the head of a request
endpoint.py         declares an operation; reads a request top to bottom
headers.py query.py body.py auth.py     what a request is made of, each checked on its own
call.py             what a handler is given besides its body
problem_details.py  every refusal as a problem document; the only place that knows statuses
replies.py          first answers and their replays, frozen by version
shapes.py           states and events as the API shows them now
private.py          what belongs into the vault
lists.py cursors.py pages of a history
operations.py openapi.py reference_page.py     the reference, made from the declarations
"""
