"""An inquiry on its way through the stages, and what is kept of its request id for 30 days.

``batch`` is what one stage hands to the next, ``ahead`` resolves several chunks of a large inquiry together.
``state`` is what is kept of each request, ``groups`` the same of small ones by the group whose commit they shared,
``dayfilters`` says in memory that an id is new. ``several`` are the rows of a chunk for which several bodies may be
asked.
"""
