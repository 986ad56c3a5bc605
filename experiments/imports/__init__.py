"""Recordings of other forms, an episode at a time."""
