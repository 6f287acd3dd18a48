"""Small inquiries that come at the same time and share one commit.

``gather`` takes them from threads and coroutines and ``group`` lays them out as one chunk of records; ``small``,
``gatherrows`` and ``rowgroup`` are the same as columns, one row a call: the way of the server. ``gatherparts`` is
what both need of the hub.
"""
