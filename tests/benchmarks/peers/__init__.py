"""Other ways to keep an encrypted token in Postgres, each as its documentation has it."""
