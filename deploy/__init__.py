"""How the parts are run where there is no Docker."""
