-- A dropped day is not recomputed from what came late: its aggregates stand until it is restored or archived anew.

CREATE OR REPLACE FUNCTION readings_days() RETURNS SETOF tstzrange
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT tstzrange(start AT TIME ZONE 'UTC', (start + '1 day'::interval) AT TIME ZONE 'UTC')
    FROM (
        SELECT to_date(substr(c.relname, 10), 'YYYYMMDD')::timestamp AS start
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'readings'::regclass AND c.relname ~ '^readings_[0-9]{8}$'
        UNION
        SELECT date_trunc('day', time AT TIME ZONE 'UTC') FROM readings_default
    ) days
    WHERE NOT EXISTS (SELECT FROM reading_days w WHERE w.day = days.start::date AND w.dropped_at IS NOT NULL)
$$;
