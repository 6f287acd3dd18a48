"""The record log as a tree that strangers can check (RFC 6962 over C2SP tlog-tiles; ``docs/log.md``).

``entry`` the bytes of a record, ``tree`` the mathematics, ``checkpoint`` what is signed, ``proof`` what a citizen takes
home, ``tiles`` what mirrors serve, ``verify`` what an auditor runs.
"""
