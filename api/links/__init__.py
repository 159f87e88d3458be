"""What printed codes and letters lead to: a page for a driver with a browser, which asks the API as an app would."""
