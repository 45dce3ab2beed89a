from tests.support.scrypt import cheap_scrypt_here

__all__ = ["cheap_scrypt_here"]
