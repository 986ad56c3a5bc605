"""Labels for other tools: values that are kept an episode at a time, the files they are written to, and what they tell."""
