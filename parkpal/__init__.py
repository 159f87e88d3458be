"""The command line and the composition root: settings are read once, parts are wired, one file a command."""
