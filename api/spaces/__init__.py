"""Places that hosts and operators list, and drivers find."""
