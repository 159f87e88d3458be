"""Answer over HTTP: people push, ask and book; every rule stands in a pure module, every race is the database's."""
