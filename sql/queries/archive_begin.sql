-- A new attempt; whoever left one under way was cut off, as the lock of this copy is held.
WITH cut_off AS (
    UPDATE archive_manifest SET state = 'abandoned', detail = 'cut off'
    WHERE tenant_id = %(tenant)s AND day = %(day)s AND store = %(store)s AND state = 'writing'
)
INSERT INTO archive_manifest (tenant_id, day, store, state, started_at)
VALUES (%(tenant)s, %(day)s, %(store)s, 'writing', %(now)s)
RETURNING receipt_id
