"""`Choice`: an enumeration of texts. Its errors do not repeat the refused value."""

from __future__ import annotations

import enum
from typing import Any

from vault_domain.entities.errors import InvalidInputError


class _Lookup(enum.EnumType):
    """Removes the frames of `enum` from an error's traceback, because they hold the value that was looked up."""

    def __call__(cls, value: Any, *args: Any, **kwargs: Any) -> Any:
        if type(value) is str and value in cls._value2member_map_:
            return cls._value2member_map_[value]
        try:
            return super().__call__(value, *args, **kwargs)
        except InvalidInputError as error:
            refusal = error
        finally:
            del value, args, kwargs
        raise refusal.with_traceback(None)


class Choice(enum.StrEnum, metaclass=_Lookup):
    """A text from a fixed list.

    Raises:
        InvalidInputError: the text is not in the list. The error shows the whole list. Neither the error nor its
            frames hold the value, because it may be a secret that was passed by mistake.
    """

    @classmethod
    def _missing_(cls, value: object) -> Choice:
        members = ", ".join(member.value for member in cls)
        raise InvalidInputError(f"{cls.__name__} must be one of {members}")
