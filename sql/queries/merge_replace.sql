-- A later writer's row cannot be overwritten here: the transaction is REPEATABLE READ and would fail instead.
INSERT INTO readings (time, tag_id, value, quality, status)
SELECT time, tag_id, value, quality, status FROM merge_winners
ON CONFLICT (tag_id, time) DO UPDATE
SET value = excluded.value, quality = excluded.quality, status = excluded.status
