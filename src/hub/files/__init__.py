"""What files mean that go in and out of the hub, by their columns.

``tables`` reads and writes CSV, Parquet and Arrow, ``columns`` turns blocks of cells into arrays. ``inquiries`` are
files of acquisitions, inquiries and answers, ``sent`` of pushes, updates and notices, ``people`` of attributes,
``holders``, ``deaths`` and ``identifiers`` of those.
"""
