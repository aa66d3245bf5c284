"""The archive: documents, chunks, search."""
