"""How good samples are: distances of features, how real they are, how diverse."""
