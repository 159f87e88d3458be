"""The event log on Apache Kafka, or on any broker that speaks its protocol."""
