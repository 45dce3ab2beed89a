"""`TokenVault` and the classes that it returns for keys, states, measures and events; hosts call them."""
