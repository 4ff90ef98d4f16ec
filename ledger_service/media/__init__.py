"""The storage: links to files that expire, files that callers give, and what goes when."""
