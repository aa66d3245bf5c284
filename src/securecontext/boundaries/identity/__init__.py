"""Who somebody is: the operator, tokens that were issued, and the credentials of each door."""
