"""The classes that hosts call: `TokenVault`, and the classes of the objects that it returns, such as `VaultKeys`."""
