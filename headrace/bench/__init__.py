"""`headrace bench`: commands that reproduce the figures of the documentation."""
