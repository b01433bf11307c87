"""The rules of the business: pure functions of their arguments, without I/O, clock or randomness."""
