"""One program per peer: ``FILE URL CHUNK_RECORDS FOLDER``; says ``ready``, delivers, ends.

They run in an environment of their own and share no code with ackline. What a peer has to
remember between two starts is in FOLDER.
"""
