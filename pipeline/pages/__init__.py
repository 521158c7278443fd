"""Pages for people: the report, and the receipts of a camera's day."""
