"""What this process knows without asking the database: rows, and answers of providers."""
