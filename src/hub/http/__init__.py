"""The wire's methods over HTTP, for those who must pass proxies; written down in docs/http.md.

``listen``    the sockets: TLS, and the Unix socket of a trusted proxy
``protocol``  one connection: whose certificate it has, what it may take and how long; uvicorn's, held in bounds
``gate``      one request before the application: who asks, what is refused before a body is read
``proxied``   certificates that a proxy passes on
``body``      a request's body, bounded as it comes
``app``       the application (Litestar): a route for each entry of ``wire/methods.py``
``calling``   a request -> a call like any of the wire's -> its reply, as MessagePack or JSON
``document``  what of it stands in OpenAPI
``problems``  errors -> problem documents (RFC 9457)

Nothing else of the hub imports this package, and the server only where ``[http]`` is configured.
"""
