"""Take events from phones: validated, pseudonymised, grouped, and answered only once they are durable."""
