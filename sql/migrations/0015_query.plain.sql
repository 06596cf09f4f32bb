-- What a reader must know of an aggregate on plain PostgreSQL: which of its buckets wait for a refresh.

CREATE FUNCTION aggregate_stale(relation text, since timestamptz, until timestamptz) RETURNS SETOF tstzrange
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH RECURSIVE chain AS (
        SELECT l.relation, l.finer, l.watermark FROM aggregate_levels l WHERE l.relation = aggregate_stale.relation
        UNION ALL
        SELECT l.relation, l.finer, l.watermark FROM aggregate_levels l JOIN chain c ON l.relation = c.finer
    )
    SELECT unnest(range_agg(i.span * tstzrange(since, least(until, c.watermark))))
    FROM aggregate_invalidations i JOIN chain c USING (relation)
    WHERE c.watermark > since AND i.span && tstzrange(since, least(until, c.watermark))
$$;
COMMENT ON FUNCTION aggregate_stale IS
    'Where, of [since, until), readings changed below the watermark of this aggregate, or of one that it is made from, and it does not show yet.';
