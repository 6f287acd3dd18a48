"""The wire: how institutions call the hub over a network; written down for other languages in docs/wire.md.

``frames``   bytes of a connection -> messages, bounded before anything is allocated
``words``    the messages
``packing``  columns, dates, handles as they travel; ``results`` what comes back
``methods``  the table: each method of the Hub that can be called, in one entry
``faults``   errors -> messages -> the same errors
``config`` ``access`` ``calls`` ``connection``   the server's parts (``server.py``)
``link`` ``caller``   the client's parts (``client.py``, ``aio.py``)
"""
