"""How files come to be: whole or not at all, once, and under a lock where that is needed."""
