"""The citizen's portal: who asked about me, why, and is that all; a process of its own, and a client of the hub.

    browser -> pages (Litestar, Jinja2) -> ``hubside.py`` -> the hub over the wire, as the institution ``portal``

It holds no alias table and can never inquire. ``app.py`` puts it together: read it first. See docs/portal.md.
"""
