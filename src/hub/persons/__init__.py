"""Who is who, who has died, which body succeeded which, which body holds whom, and identifiers from outside.

As it is stored: ``merges`` of two persons into one, ``deaths``, ``successions`` of bodies, ``holders`` of persons,
aliases ``wanted`` by providers, ``identifiers``, their ``pseudonyms`` and daily ``uses``. What changes it:
``merging``, ``dying`` and ``succeeding``; ``liferecords`` are the records of that. ``locate`` finds for a row that
names a class the body that is asked.
"""
