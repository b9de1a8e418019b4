-- Who rotates a token may not read its former secret, and so can not move it aside by a statement of its own. A secret
-- that was never used makes way for the next one, and the one before it goes on to work.

CREATE FUNCTION keep_former_value() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.previous_scrypt_n := OLD.scrypt_n;
    NEW.previous_scrypt_r := OLD.scrypt_r;
    NEW.previous_scrypt_p := OLD.scrypt_p;
    NEW.previous_salt := OLD.salt;
    NEW.previous_hash := OLD.hash;
    NEW.previous_fast_value := OLD.fast_value;
    NEW.previous_fast_pepper := OLD.fast_pepper;
    NEW.previous_fast_until := OLD.fast_until;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION keep_former_value() FROM PUBLIC;
CREATE TRIGGER rotation BEFORE UPDATE OF rotation ON api_tokens FOR EACH ROW
    WHEN (NEW.rotation > OLD.rotation AND OLD.value_used_at IS NOT NULL)
    EXECUTE FUNCTION keep_former_value();
