"""The HTTP API: one controller per resource over the shared parts.

endpoint.py         declares an operation; reads a request top to bottom
headers.py query.py body.py auth.py     what a request is made of, each checked on its own
call.py             what a handler is given besides its body
problem_details.py  every refusal as a problem document; the only place that knows statuses
replies.py          first answers and their replays, frozen by version
shapes.py           states and events as the API shows them now
openapi.py docs.py  the reference, made from the declarations
"""
