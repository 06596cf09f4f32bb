-- A later writer's row cannot be overwritten here: the transaction is REPEATABLE READ and would fail instead.
INSERT INTO readings (time, tag_id, value, quality, status)
SELECT DISTINCT ON (tag_id, time) time, tag_id, value, quality, status
FROM merge_outcomes
WHERE outcome IN ('stored', 'replaced')
ORDER BY tag_id, time, ordinal DESC
ON CONFLICT (tag_id, time) DO UPDATE
SET value = excluded.value, quality = excluded.quality, status = excluded.status
