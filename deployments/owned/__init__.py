"""Processes that belong to a replica: started with it, watched, and gone when it is, however it went."""
