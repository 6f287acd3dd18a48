"""The bench: what the hub does a second on this machine, beside other ways to do the same, with its answers checked.

``python -m hub.bench`` runs every stage on synthetic persons in a temporary folder and removes it. Cases are named
``<stage>: <size and variant>``; ``peer:<name>`` marks another way to do the same rows, ``limit`` what the machine
can do at best. A ratio is formed only between cases of one size, measured in one run.
"""
