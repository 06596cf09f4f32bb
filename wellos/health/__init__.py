"""How the whole platform is: every part asked at once, within ten seconds, and what runs badly in parts that are up."""
