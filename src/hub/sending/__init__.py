"""What is sent without a question.

``send`` is the engine: decided, resolved and recorded as an inquiry. ``push`` is a provision that nobody asked for,
``update`` a correction to everybody who received the data, ``notify`` a notice to citizens, whose texts ``notices``
keeps. ``arrivals`` is the receivers' side.
"""
