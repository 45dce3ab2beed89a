"""What a host calls: `TokenVault` and `VaultKeys`. They check arguments and hand them to the use cases."""
