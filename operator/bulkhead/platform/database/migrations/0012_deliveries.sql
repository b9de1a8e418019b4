-- One delivery in flight for each webhook: who sends takes the webhook, for a while that is longer than any request.

ALTER TABLE webhooks
    ADD COLUMN free_at timestamptz NOT NULL DEFAULT now(),  -- nothing is sent to it before: it is taken, or rests after a failure
    ADD COLUMN lease uuid,  -- of who has taken it
    ADD COLUMN failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0);  -- in a row
CREATE INDEX deliveries_next ON deliveries (webhook_id, next_attempt_at, id) WHERE state = 'pending';

GRANT SELECT (failures), UPDATE (failures) ON webhooks TO bulkhead_platform_api;
-- Secrets too: they are sealed anew once the sealing key has changed.
GRANT UPDATE (free_at, lease, failures, sealed_secret, sealed_under, previous_sealed_secret, previous_sealed_under)
    ON webhooks TO bulkhead_platform_worker;

-- Who rotates a secret may not read the former one, and so can not move it aside by a statement of its own.
CREATE FUNCTION keep_former_secret() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.previous_sealed_secret := OLD.sealed_secret;
    NEW.previous_sealed_under := OLD.sealed_under;
    RETURN NEW;
END $$;
REVOKE ALL ON FUNCTION keep_former_secret() FROM PUBLIC;
CREATE TRIGGER rotation BEFORE UPDATE OF sealed_secret, previous_until ON webhooks FOR EACH ROW
    WHEN (NEW.previous_until IS NOT NULL AND NEW.previous_until IS DISTINCT FROM OLD.previous_until
          AND NEW.sealed_secret <> OLD.sealed_secret)
    EXECUTE FUNCTION keep_former_secret();
