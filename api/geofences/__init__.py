"""Geofences, versioned: what was in force at any instant never changes afterwards."""
