"""An empty installation gets zones, people and spaces to try it with. Never one in production."""
