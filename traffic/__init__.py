"""Sample traffic: a world of people and purchases, published to Kafka as outsiders would."""
