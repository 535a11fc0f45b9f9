"""Fuzzing of the decoders: files nobody meant, judged by readers that are not ours.

``case.py`` is a file with the options it is read with; a judge for each format reads it in
every way there is and compares; ``seeds.py`` is what it starts from, ``mutation.py`` what is
done to it where no coverage guides; ``child.py`` runs judges in a process that may die,
``watch.py`` watches that process and keeps what it found.
"""
