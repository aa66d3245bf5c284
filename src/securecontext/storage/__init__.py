"""Tables, engines, the writer and full-text search."""
