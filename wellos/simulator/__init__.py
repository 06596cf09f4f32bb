"""The field simulator: wells with behaviour, served over real protocols, with the truth written down."""
