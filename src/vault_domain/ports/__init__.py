"""What the domain needs of the outside: small protocols, a file per port."""
