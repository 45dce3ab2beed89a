"""The pure domain of the token vault: values, rules, ports and use cases, without any I/O.

Hosts import from `vault_adapters`, which exports these names too.
"""
