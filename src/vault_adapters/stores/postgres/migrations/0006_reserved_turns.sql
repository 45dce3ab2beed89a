-- needs: 0002
-- reserved: the turns that tenants have reserved, each as four bytes of a hash of the tenant and eight bytes for the time
-- in microseconds; few. The hash tells a few tenants apart, and is too short to tell which tenants they are.
ALTER TABLE {{schema}}.client_turn ADD COLUMN reserved bytea;
ALTER TABLE {{schema}}.client_turn ADD CONSTRAINT client_turn_reserved_check CHECK (octet_length(reserved) <= 1024);
