"""The history index: which records are about whom, as sorted runs of person keys that merge as they grow in number.

``index`` has the runs as they are stored, ``directory`` reads which there are, ``due`` says which are to be merged,
``merge`` merges them in bounded steps and ``merger`` is the thread that does it. ``hub/history.py`` asks them.
"""
