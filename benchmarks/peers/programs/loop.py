"""A loop by hand: read, POST, check, next. It remembers nothing, so it starts over."""

from benchmarks.peers.programs.posting import Poster
from benchmarks.peers.programs.reading import asked, chunks


def main() -> None:
    """Deliver."""
    file, url, chunk_records, _ = asked()
    poster = Poster(url)
    for chunk in chunks(file, chunk_records):
        poster.post(chunk)


if __name__ == "__main__":
    main()
