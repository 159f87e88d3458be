"""Apache Kafka from its published jars."""
