"""A world model of recordings of one's own."""
