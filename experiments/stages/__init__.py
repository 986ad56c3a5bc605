"""The stages of an experiment: each a function from its configuration and inputs to an artifact."""
