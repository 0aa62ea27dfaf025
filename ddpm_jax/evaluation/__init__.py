"""A trained model in numbers: metrics, what they are of, and the records they leave."""
