"""A store in a dictionary, the smallest that passes the contract. It is the example of the guide "Write a store"."""

from tests.examples.dict_store.store import DictStore, open_dict_store

__all__ = ["DictStore", "open_dict_store"]
