"""The clerks' desk of one institution: ask by hand, answer by hand, disclose at the counter.

    browser -> pages (Litestar, Jinja2) -> the portal's ``hubside.py`` -> the hub over the wire, as that institution

A process and listener of its own, for a closed network. What both sites share is the portal's: sessions, forms,
headers, sign-in. ``app.py`` puts it together, ``book.py`` keeps what waits for whom: read them first. See docs/desk.md.
"""
