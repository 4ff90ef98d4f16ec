"""What crosses a process boundary: message shapes, problem codes and limits.

Imports only msgspec and the standard library; `contracts.client` alone may import httpx.
"""
