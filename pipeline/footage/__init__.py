"""Reading footage: what a file holds, whether it can be trusted, and only the frames wanted."""
