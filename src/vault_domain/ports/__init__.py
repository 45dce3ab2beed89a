"""The ports: small protocols that state what the domain needs from its adapters, a file per port."""
