"""A page to look at a data set: one HTML file with every episode's film strip and value curve, and what to keep of it."""
