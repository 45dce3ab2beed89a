"""The classes that a host calls: `TokenVault` and `VaultKeys`. They check arguments and call the use cases."""
