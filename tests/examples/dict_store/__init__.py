"""A store in a dictionary: the smallest one that passes the contract; the guide "Write a store" leads to it."""

from tests.examples.dict_store.store import DictStore, open_dict_store

__all__ = ["DictStore", "open_dict_store"]
