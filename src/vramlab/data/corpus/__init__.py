"""The corpora: fetched or made, filtered by quality, read document by document."""
