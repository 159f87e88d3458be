"""Monthly passes: a place kept for one driver on its weekdays and hours."""
