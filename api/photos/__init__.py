"""Photos of places, and of what drivers found at one: re-encoded, kept in an object store, shown by signed URLs."""
