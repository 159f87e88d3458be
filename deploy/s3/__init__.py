"""An S3 server from its published source."""
